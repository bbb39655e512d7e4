"""MaskFormer in Keras (arXiv:2107.06278), useful alone: needs neither TFX nor Beam. Import its modules by name."""
