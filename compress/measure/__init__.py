"""What measuring needs of a run."""
