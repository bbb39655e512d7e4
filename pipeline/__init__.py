"""The pipeline: its nodes, their order, and the runners. Import the modules by name."""
