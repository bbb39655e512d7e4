"""How a checkpoint's arrays and a network belong together: which variable holds which array, and of what size."""
