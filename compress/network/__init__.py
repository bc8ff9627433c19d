"""Looking into a network: its blocks, channels and spectra."""
