"""Feature extractors with outputs at strides 4 to 32. Import the modules by name."""
