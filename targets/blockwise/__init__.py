"""Weights of few bits with a scale for each block of inputs: how they are rounded and packed. NumPy alone."""
