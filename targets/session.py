"""Every session checks what it is fed, whatever runs behind it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from edgepress.targets.errors import SignatureError, TargetError

if TYPE_CHECKING:
    from edgepress.targets.protocols import Runner
    from edgepress.targets.records import Feeds, Signature


class CheckedSession:
    """The `Session` that `Backend` gives: feeds reach the runner when they fit the program's signature, and what comes
    back is what the signature promises.

    Args:
        runner: the opened files of one artifact.
        programs: the signature of each program that may be asked for.
    """

    def __init__(self, runner: Runner, programs: Mapping[str, Signature]) -> None:
        self._runner = runner
        self._programs = programs

    def infer(self, feeds: Feeds, program: str = "main") -> dict[str, np.ndarray]:
        """The outputs by name, when they are there (synchronised).

        Args:
            feeds: {input: array}, of the dtypes and sizes of the program's signature.
            program: which of the artifact's programs.

        Raises:
            SignatureError: there is no such program, or the feeds do not fit it.
            TargetError: the runtime fails, or gives other outputs than the signature says.
        """
        if program not in self._programs:
            raise SignatureError(f"unknown program {program!r}; the artifact has {', '.join(self._programs)}")
        signature = self._programs[program]
        signature.check(feeds)
        outputs = self._runner.run(feeds, program)
        try:
            return {spec.name: outputs[spec.name] for spec in signature.outputs}
        except KeyError as fault:
            raise TargetError(
                f"the runtime gives {', '.join(outputs)}, and the signature says {fault.args[0]!r}. Export it again."
            ) from None
