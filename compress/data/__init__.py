"""Rows: where they come from, their labels, their splits."""
