"""Where seconds and bytes go, without a peer; each file is a command."""
