"""The official MaskFormer's formulas in PyTorch, in float64: makes golden folders; compares nothing (`tests/parity`).

Written from the papers and the official configuration's meaning, and checked against the official code's own numbers
(`tests/test_reference.py`): where it reproduces these, it can speak for architectures that no official numbers are for.
"""
