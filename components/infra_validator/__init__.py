"""Does a candidate load and answer, in a process of its own, before it is pushed? Import the modules by name."""
