"""Core-ATen operations as jax ones."""
