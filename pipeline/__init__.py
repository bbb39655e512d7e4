"""What runs, in which order and where. Import the modules by name."""
