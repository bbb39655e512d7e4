"""What Keras's backends need from us: compilation with XLA, devices, replicas. No model and no data."""
