"""Clocks, memory, energy, loads: how figures are taken."""
