"""The registered recipes beside the official ones, field by field, and what their mended fields change on photos."""
