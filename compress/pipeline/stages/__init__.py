"""Stages of a run that are no method: teacher and benchmark."""
