"""TFLite on phones and small boards."""
