"""Answers for people: an exported model as a Python object, its results, drawings and files."""
