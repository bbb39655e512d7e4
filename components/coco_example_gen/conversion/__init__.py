"""The Beam job from references to Examples and its record writers."""
