"""Training: epochs, batches, checkpoints, processes, precision, the teacher's cached outputs."""
