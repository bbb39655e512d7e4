"""The ExampleGen that reads COCO-panoptic data sets. Import the modules by name."""
