"""What can be done to a model: a folder a family, a file a method."""
