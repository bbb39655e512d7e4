"""What protects a server from its callers: limits of bodies, connections and logs, and who may ask. Knows no model."""
