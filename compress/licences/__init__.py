"""Where a run's inputs come from and under which licences, and what those say about distilling and passing on."""
