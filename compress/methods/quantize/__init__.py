"""Quantization: what each target makes of a model, and which of it is chosen."""
