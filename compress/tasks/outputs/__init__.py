"""What a network's outputs mean."""
