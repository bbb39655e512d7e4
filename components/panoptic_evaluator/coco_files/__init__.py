"""COCO panoptic json and PNG files: reading pairs, writing submissions."""
