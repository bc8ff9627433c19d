"""What can go wrong, for all three packages.

EdgepressError                  one line for the user: what was wrong, what was got, what to do
├── RecipeError                 the YAML: every fault in one message
├── DataError                   a file, a column, a label
├── ModelError                  a teacher or student that cannot be used
├── StageError                  a pass that broke its contract; names the stage and those before it
│   └── ProcessLost             another process of a run on several has ended
├── StoreError                  run folders: locked, damaged, disk full
├── TargetError                 a backend refused
│   ├── TargetUnavailable       its package or hardware is not here
│   ├── TargetBroken            its package is here and cannot be loaded
│   ├── ArtifactError           files missing, damaged or of another version
│   ├── BundleError             a bundle that is not as it was released
│   │   ├── UnsignedError       its signature is missing, bad or of another key
│   │   └── UngatedError        it is as released, and a gate of its recipe was missed
│   └── SignatureError          an input that does not fit
├── BenchmarkError              a measurement that could not be taken
├── LicenceError                an input's licence restricts or is not known, and nobody accepted that
└── GateError                   measured, and not good enough
"""

import re

COLOUR = re.compile(r"\x1b\[[0-9;]*m")
LONGEST = 500  # characters of a foreign text: some libraries print a whole graph


class EdgepressError(Exception):
    """Base of all errors a user can cause or cure. `exit_code` is what the command line returns."""

    exit_code = 2


class RecipeError(EdgepressError):
    """The recipe is wrong; the message lists all its faults."""


class DataError(EdgepressError):
    """Data that is missing, empty or does not fit the model."""


class ModelError(EdgepressError):
    """A model that cannot be loaded, trusted or changed as asked."""


class StageError(EdgepressError):
    """A stage that broke its contract."""

    exit_code = 1


class ProcessLost(StageError):
    """Another process of a run on several ended before this one."""


class StoreError(EdgepressError):
    """A run folder that cannot be used."""

    exit_code = 1


class TargetError(EdgepressError):
    """A backend that refused a model."""

    exit_code = 1


class TargetUnavailable(TargetError):
    """A backend whose package or hardware is not here."""


class TargetBroken(TargetError):
    """A backend whose package is installed and cannot be loaded."""

    def __init__(self, reason: str, remedy: str) -> None:
        super().__init__(f"{reason}. Fix: {remedy}")
        self.reason, self.remedy = reason, remedy


class ArtifactError(TargetError):
    """Artifact files that are missing, damaged or of another version."""


class BundleError(TargetError):
    """A release bundle that is not as it was released, or cannot be one."""


class UnsignedError(BundleError):
    """A bundle whose signature is missing, bad, of another key or of other files."""

    exit_code = 3


class UngatedError(BundleError):
    """A bundle as it was released, of a run that missed a gate."""

    exit_code = 4


class SignatureError(TargetError):
    """Inputs that do not fit the signature: name, dtype, rank, size or bound."""


class BenchmarkError(EdgepressError):
    """A measurement that could not be taken."""

    exit_code = 1


class GateError(EdgepressError):
    """The result was measured and misses a gate of the recipe."""

    exit_code = 3


class LicenceError(EdgepressError):
    """An input whose licence restricts or is not known, and that the recipe does not accept."""

    exit_code = 3


def told(fault: BaseException) -> str:
    """What happened, folded into one line: the only way to put a foreign exception into a message.

    Args:
        fault: any exception; those of libraries may have several lines, terminal colours, or no text at all.

    Returns:
        Our own errors as they are. Others with their type before them, the type alone where they say nothing, and
        without a final full stop, since the text ends up in the middle of a sentence. At most 500 characters of text.

    >>> told(ValueError("no such\\n  axis.")), told(KeyError()), told(DataError("a.csv is empty."))
    ('ValueError: no such axis', 'KeyError', 'a.csv is empty.')
    """
    text = " ".join(COLOUR.sub("", str(fault)).split())
    text = text if len(text) <= LONGEST else f"{text[:LONGEST]}…"
    if isinstance(fault, EdgepressError):
        return text
    return f"{type(fault).__name__}: {text.rstrip('.')}" if text else type(fault).__name__
