"""torch.export and exact passes over its graphs."""
