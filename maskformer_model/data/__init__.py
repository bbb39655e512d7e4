"""Examples and photos: reading, targets, augmentation, batches. COCO's files are read by `components`."""
