"""Shapes of calls, written for people."""

from __future__ import annotations


def size_words(batch: int, sequence: int | None, threads: int | None) -> dict[str, str]:
    """What a call was: rows, tokens in a row, threads of the session; None where there is no such thing.

    >>> size_words(1, 32, 1)
    {'b': 'batch 1', 's': 'sequence 32', 't': '1 thread'}
    """
    long = {} if sequence is None else {"s": f"sequence {sequence}"}
    wide = {} if threads is None else {"t": f"{threads} thread{'' if threads == 1 else 's'}"}
    return {"b": f"batch {batch}", **long, **wide}
