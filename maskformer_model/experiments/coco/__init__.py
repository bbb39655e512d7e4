"""Published recipes for COCO panoptic. One file per experiment."""
