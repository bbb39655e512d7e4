"""Published recipes for ADE20K. One file per experiment."""
