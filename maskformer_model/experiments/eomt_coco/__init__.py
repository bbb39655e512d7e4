"""EoMT on COCO, with DINOv2."""
