"""The Python interface of an exported model, its results, drawings and files."""
