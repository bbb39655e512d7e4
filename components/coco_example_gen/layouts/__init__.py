"""Where the files of a data set are: published layouts and their splits. Reads no record."""
