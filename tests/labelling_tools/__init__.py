"""Exports made and pre-annotations read by the packages of labelling tools, which have an environment of their own."""
