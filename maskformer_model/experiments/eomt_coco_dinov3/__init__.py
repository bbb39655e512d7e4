"""EoMT on COCO, with DINOv3."""
