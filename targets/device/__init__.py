"""What measures on a device as it does here: clocks, turns, processors."""
