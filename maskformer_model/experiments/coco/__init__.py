"""Published recipes for COCO panoptic and COCO-Stuff-10k. One file per experiment."""
