"""Sequences of any length for graphs of fixed lengths."""
