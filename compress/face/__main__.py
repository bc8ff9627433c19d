"""`python -m edgepress` is the command line; torchrun starts it by this name."""

from __future__ import annotations

from edgepress.compress.cli.app import main

if __name__ == "__main__":
    main()
