"""Release folders and what travels in them."""
