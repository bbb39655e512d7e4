"""The worked examples of docs/examples, run as a reader would: every command, in order, from an empty folder."""
