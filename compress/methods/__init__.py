"""What is done to a model, a folder a family."""
