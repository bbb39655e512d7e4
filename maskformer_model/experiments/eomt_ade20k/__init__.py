"""EoMT on ADE20K."""
