"""Quantization-aware training: the model trains as int8 will multiply it, and the ranges reach the targets."""
