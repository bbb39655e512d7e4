"""Trainings of ours and of peers on the same real photos, scored by the same code; each file is a command."""
