"""What is particular to checkpoints of EoMT: names, sizes, and the fit of a ViT to other patches."""
