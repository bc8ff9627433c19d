"""Several processes of one run, as `torchrun` starts them: who this one is, and how the first one leads the others.

Process 0 alone runs the pipeline, writes and prints. The others wait for the trainings that it hands out and take part
in them. Messages go through a group of their own on the CPU (gloo), so that hours of waiting, while process 0 exports
and measures, neither keep a GPU busy nor meet a time-out. torch is loaded with the first message.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import cache
from typing import Any

from edgepress.targets.errors import ProcessLost, StageError

# Longer than any stage takes: a process that ends is noticed by its closed connection, not by the clock.
PATIENCE = timedelta(days=7)


def world_size() -> int:
    """How many processes run this recipe together."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def rank() -> int:
    """Number of this process, from 0."""
    return int(os.environ.get("RANK", "0")) if world_size() > 1 else 0


def is_main() -> bool:
    """Whether this process runs the pipeline, writes and prints."""
    return rank() == 0


def prepare() -> None:
    """To be called before torch is loaded: its C++ side would warn on every process that our modules differ in which
    parameters a step uses, and reads what it may say once."""
    if world_size() > 1:
        os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")


@contextmanager
def leading() -> Iterator[None]:
    """Process 0's work; the others are let go when it ends well.

    When it ends badly, process 0 ends with an exit code, and its connections and the launcher end the others.
    """
    yield
    if world_size() > 1:
        send(None)


def send(message: object) -> None:
    """Process 0 hands `message` to every `receive()`."""
    import torch.distributed

    with losses_told():
        torch.distributed.broadcast_object_list([message], src=0, group=_group())


def receive() -> Any:
    """What process 0 sent; waits for it. Our own processes' words: nothing is read from a file or a stranger."""
    import torch.distributed

    box: list[Any] = [None]
    with losses_told():
        torch.distributed.broadcast_object_list(box, src=0, group=_group())
    return box[0]


def agreed(answer: bool) -> bool:
    """Process 0's answer, for all: what each one's own clock says may differ."""
    if world_size() == 1:
        return answer
    import torch
    import torch.distributed

    word = torch.tensor([answer], dtype=torch.uint8)
    torch.distributed.broadcast(word, src=0, group=_group())
    return bool(word.item())


def barrier() -> None:
    """Wait until every process is here."""
    if world_size() > 1:
        import torch.distributed

        torch.distributed.barrier(group=_group())


@contextmanager
def losses_told() -> Iterator[None]:
    """A connection that broke because another process ended is one line.

    Raises:
        ProcessLost: it broke.
    """
    try:
        yield
    except RuntimeError as fault:
        if world_size() == 1 or not _is_loss(fault):
            raise
        raise ProcessLost(
            "another process of this run has ended; what it wrote before says why. Run the same command again to go on."
        ) from fault


def _is_loss(fault: RuntimeError) -> bool:
    import torch.distributed

    # gloo's faults are plain RuntimeErrors that name their source file.
    return isinstance(fault, torch.distributed.DistError) or "gloo" in str(fault).lower()


@cache
def _group() -> Any:
    """The processes' own channel on the CPU; the first call joins them, all of them have to make it.

    Raises:
        StageError: the environment is not a launcher's.
    """
    if missing := [name for name in ("RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT") if name not in os.environ]:
        raise StageError(
            f"WORLD_SIZE is {world_size()}, but {missing[0]} is not set. Start with `torchrun --nproc-per-node N -m "
            f"edgepress run …`, or unset WORLD_SIZE."
        )
    import torch
    import torch.distributed
    from accelerate import PartialState

    # gloo on CPUs, nccl on GPUs, one for each process of a machine.
    PartialState(cpu=not torch.cuda.is_available(), timeout=PATIENCE)
    return torch.distributed.new_group(backend="gloo", timeout=PATIENCE)
