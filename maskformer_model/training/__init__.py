"""The training loop: step, optimizer, callbacks, checkpoints, curves. What a loss is, is in `losses`."""
