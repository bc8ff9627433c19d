"""A release opened for use: texts, pictures, sounds or numbers in, labels and probabilities out."""
