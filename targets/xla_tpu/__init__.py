"""XLA on TPUs."""
