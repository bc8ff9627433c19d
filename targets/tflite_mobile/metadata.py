"""What travels inside a .tflite beside the graph, where TFLite's own readers look for it.

The metadata table of the format (class names, normalisation, what inputs and outputs mean) is a flatbuffer in a buffer
of the model; the files that it names lie in a zip behind the model. Runtimes ignore both, any zip reader opens the
model file and finds `labels.txt` and `edgepress.json`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from zipfile import ZipFile, ZipInfo

import numpy as np

from edgepress.targets.records import Description, Signature, TensorSpec

LABELS = "labels.txt"
FACTS = "edgepress.json"
TABLE = b"TFLITE_METADATA"
IDENTIFIER = b"M001"
FLATBUFFER_LIMIT = 2**31 - 2**24  # bytes
# Numbers of the schema metadata_schema.fbs.
AXIS_LABELS, NORMALIZATION, FEATURE, IMAGE = 2, 1, 1, 2
RGB, GRAYSCALE = 1, 2


def attach(path: Path, description: Description, signature: Signature, lengths: Mapping[str, int]) -> None:
    """Add the metadata to a model. One above 2 GiB has no room for the table; the rest stands behind it all the same.

    Args:
        path: of the .tflite, changed in place.
        description: class names, and mean and deviation of each channel.
        signature: what the model takes and gives.
        lengths: {program: sequence length, or 0}.
    """
    if path.stat().st_size < FLATBUFFER_LIMIT:
        _add_table(path, description, signature)
    facts = {"mean": description.mean, "std": description.std, "signatures": dict(lengths)}
    with ZipFile(path, "a") as archive:
        # ZipInfo has a fixed date, so that the same model gives the same file.
        if description.labels:
            archive.writestr(ZipInfo(LABELS), "\n".join(description.labels) + "\n")
        archive.writestr(ZipInfo(FACTS), json.dumps(facts))


def _add_table(path: Path, description: Description, signature: Signature) -> None:
    from ai_edge_litert import schema_py_generated as schema
    from ai_edge_litert.tools import flatbuffer_utils

    # The converter lays large weights behind the flatbuffer; this reads them in, so that they are written inside it.
    model = flatbuffer_utils.read_model_from_bytearray(path.read_bytes())
    pack_whole(model.buffers)
    buffer = schema.BufferT()
    buffer.data = list(metadata_table(description, signature, len(model.subgraphs)))
    model.buffers.append(buffer)
    entry = schema.MetadataT()
    entry.name, entry.buffer = TABLE, len(model.buffers) - 1
    model.metadata = [*(model.metadata or []), entry]
    flatbuffer_utils.write_model(model, path)


def pack_whole(buffers: Sequence[Any]) -> None:
    """Make arrays of the buffers' data: bytes are written one by one in Python, 110 MB of them in 108 s."""
    for buffer in buffers:
        if isinstance(buffer.data, bytes | bytearray | memoryview):
            buffer.data = np.frombuffer(buffer.data, np.uint8)


def metadata_table(description: Description, signature: Signature, graphs: int) -> bytes:
    """A ModelMetadata flatbuffer, the same for each of the model's `graphs`: one signature each."""
    writer = _Writer()
    files = [writer.table({0: writer.text(LABELS), 2: ("byte", AXIS_LABELS)})] if description.labels else []
    inputs = [_input(writer, spec, description) for spec in signature.inputs]
    outputs = [
        writer.table({
            0: writer.text(spec.name),
            3: writer.table({0: ("byte", FEATURE), 1: writer.table({})}),
            6: writer.vector(files),
        })
        for spec in signature.outputs
    ]  # fmt: skip
    parts = [writer.table({2: writer.vector(inputs), 3: writer.vector(outputs)}) for _ in range(graphs)]
    return writer.finish(writer.table({3: writer.vector(parts)}))


def _input(writer: _Writer, spec: TensorSpec, description: Description) -> int:
    fields: dict[int, Any] = {0: writer.text(spec.name)}
    if spec.dtype == "float32" and description.mean:
        color = RGB if len(description.mean) == 3 else GRAYSCALE
        fields[3] = writer.table({0: ("byte", IMAGE), 1: writer.table({0: ("byte", color)})})
        options = writer.table({0: writer.floats(description.mean), 1: writer.floats(description.std)})
        fields[4] = writer.vector([writer.table({0: ("byte", NORMALIZATION), 1: options})])
    else:
        fields[3] = writer.table({0: ("byte", FEATURE), 1: writer.table({})})
    return writer.table(fields)


class _Writer:
    """Flatbuffer tables by field number; children are written before their parents."""

    def __init__(self) -> None:
        import flatbuffers

        self._builder: Any = flatbuffers.Builder(256)

    def text(self, value: str) -> int:
        return int(self._builder.CreateString(value))

    def floats(self, values: Sequence[float]) -> int:
        self._builder.StartVector(4, len(values), 4)
        for value in reversed(values):
            self._builder.PrependFloat32(value)
        return int(self._builder.EndVector())

    def vector(self, items: Sequence[int]) -> int:
        self._builder.StartVector(4, len(items), 4)
        for item in reversed(items):
            self._builder.PrependUOffsetTRelative(item)
        return int(self._builder.EndVector())

    def table(self, fields: Mapping[int, int | tuple[str, int]]) -> int:
        """{field number: a child, or ("byte", value)}."""
        self._builder.StartObject(max(fields, default=0) + 1)
        for number, value in fields.items():
            if isinstance(value, tuple):
                self._builder.PrependByteSlot(number, value[1], 0)
            else:
                self._builder.PrependUOffsetTRelativeSlot(number, value, 0)
        return int(self._builder.EndObject())

    def finish(self, root: int) -> bytes:
        self._builder.Finish(root, file_identifier=IDENTIFIER)
        return bytes(self._builder.Output())
