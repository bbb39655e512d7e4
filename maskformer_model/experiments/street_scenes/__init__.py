"""Published recipes for Cityscapes and Mapillary Vistas. One file per experiment."""
