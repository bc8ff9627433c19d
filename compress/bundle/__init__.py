"""Releases as bundles: what they hold, how they are packed into one file, signed, and verified by who gets them."""
