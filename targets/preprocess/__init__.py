"""What raw data becomes before a model reads it, with NumPy alone: the same while it is trained and on a device."""
