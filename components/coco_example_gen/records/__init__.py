"""Reads json, label PNGs and photos into records and checks them. No Beam."""
