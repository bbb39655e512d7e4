"""Readers of file formats, each without the library that wrote the files, and without believing what they announce."""
