"""Load on a running server, by a public load generator."""
