"""How raw inputs become what a network takes."""
