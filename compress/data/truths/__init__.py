"""How labels become numbers, by their kind."""
