"""What figures say: fidelity, latency, differences, gates."""
