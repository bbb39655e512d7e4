"""The versions that serve: pushing, the pointer to the last pushed model, and rollback."""
