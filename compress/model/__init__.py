"""The model record, its edits, and how it is loaded."""
