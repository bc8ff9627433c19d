"""Records that older versions wrote, read as today's: nobody has to export again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def as_written_today(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of an `artifact.json`, or of an `Artifact` that is being made, in the layout of this version.

    Before there were programs, an artifact had one `signature`; a .tflite kept its sequence lengths among the options
    of its candidate; and which of TensorRT's packages had built an engine was told by its versions alone.
    """
    if "signature" not in fields or "programs" in fields:
        return dict(fields)
    found = {name: value for name, value in fields.items() if name != "signature"}
    found["programs"] = {"main": fields["signature"]}
    if fields.get("target") == "tflite-mobile":
        found |= _sequences_as_programs(fields)
    builders = [name for name in fields.get("versions", ()) if name.startswith("tensorrt")]
    if fields.get("target") == "tensorrt-gpu" and builders:
        rtx = any(name.startswith("tensorrt-rtx") for name in builders)
        found["options"] = {"package": "tensorrt_rtx" if rtx else "tensorrt"}
    return found


def _sequences_as_programs(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The programs of a .tflite: a row at a time, of one length each; 0 stands for a model without a sequence."""
    signature, candidate = fields["signature"], fields.get("candidate")
    if not isinstance(candidate, Mapping) or "sequences" not in candidate.get("options", {}):
        return {}
    options = dict(candidate["options"])
    programs = {"main": signature}
    for length in options.pop("sequences"):
        programs[f"seq{length}" if length else "image"] = _of_one_row(signature, length)
    return {"programs": programs, "candidate": {**candidate, "options": options}}


def _of_one_row(signature: Mapping[str, Any], length: int) -> dict[str, Any]:
    sizes = {"batch": 1, "sequence": length}

    def fixed(spec: Mapping[str, Any]) -> dict[str, Any]:
        dtype = "int32" if spec["dtype"] == "int64" else spec["dtype"]
        return {**spec, "dtype": dtype, "shape": [sizes.get(size, size) for size in spec["shape"]]}

    return {"inputs": [*map(fixed, signature["inputs"])], "outputs": [*map(fixed, signature["outputs"])], "bounds": {}}
