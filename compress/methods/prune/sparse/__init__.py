"""Sparsity: single weights become zero, and the layers keep their sizes."""
