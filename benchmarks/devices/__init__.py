"""Records that devices send back."""
