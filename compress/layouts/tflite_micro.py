"""A C array of a small .tflite, for TensorFlow Lite for Microcontrollers, which has no files to open."""

from __future__ import annotations

from pathlib import Path

from edgepress.compress.layouts.android import MODEL, programs_of
from edgepress.targets.errors import EdgepressError
from edgepress.targets.records import Artifact

MOST_BYTES = 4 << 20
"""Of a model: microcontrollers have less flash than that."""
A_LINE = 12
HEADER = """// {name}: {size} bytes, {precision}. Generated from {target}/{file}.
#pragma once

extern const unsigned char edgepress_model[];
extern const unsigned int edgepress_model_size;
"""
SOURCE = """// {name}: {size} bytes, {precision}. Generated from {target}/{file}.
#include "edgepress_model.h"

// The runtime reads the flatbuffer in place.
alignas(16) const unsigned char edgepress_model[] = {{
{lines}
}};
const unsigned int edgepress_model_size = {size};
"""


def lay(artifact: Artifact, source: Path, place: Path, name: str) -> None:
    """Write the array of a .tflite, `edgepress_model.h` and `edgepress_model.cc`.

    Args:
        artifact: its record.
        source: its folder.
        place: where the layout goes, an empty folder.
        name: of the release.

    Raises:
        EdgepressError: it is larger than any microcontroller has room for, or has several signatures.
    """
    content = (source / MODEL).read_bytes()
    programs = programs_of(artifact)
    if len(content) > MOST_BYTES or len(programs) != 1:
        raise EdgepressError(
            f"the layout tflite-micro takes a model of one signature and at most {MOST_BYTES} bytes, and {name} has "
            f"{len(programs)} ({', '.join(programs)[:200]}) and {len(content)} bytes. Give the target one sequence "
            f"length, or leave the layout out"
        )
    rows = (content[start : start + A_LINE] for start in range(0, len(content), A_LINE))
    lines = "\n".join("    " + ", ".join(f"0x{byte:02x}" for byte in row) + "," for row in rows)
    facts = {"name": name, "size": len(content), "precision": artifact.precision, "target": artifact.target}
    (place / "edgepress_model.h").write_bytes(HEADER.format(**facts, file=MODEL).encode())
    (place / "edgepress_model.cc").write_bytes(SOURCE.format(**facts, file=MODEL, lines=lines).encode())
