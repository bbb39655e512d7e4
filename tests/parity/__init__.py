"""Comparison of a whole model with an official implementation's numbers; not how one computes them (`tests/reference`).

`python -m tests.parity FOLDER ...` measures what our code computes for a golden folder (`measurement.py`; a module per
family of models, chosen in `families.py`) and judges it: one module of rows per concern, which knows no family.
"""
