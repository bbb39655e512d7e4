"""The losses: matcher, mask losses, and the criterion that adds them up. No training loop."""
