"""OpenVINO on Intel and AMD CPUs, Intel GPUs and NPUs."""
