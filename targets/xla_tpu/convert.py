"""torch.export program → the files of XLA artifacts, one precision after the other, in a process of its own."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cache, partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgepress.targets.errors import TargetError, told
from edgepress.targets.graph.trained import QAT, load_trained, trained_note
from edgepress.targets.process.feeds import load_feeds
from edgepress.targets.records import Feeds, Signature
from edgepress.targets.xla_tpu.calibrate import calibrate, trained_scales, weights_for
from edgepress.targets.xla_tpu.compile import compile_for_chips
from edgepress.targets.xla_tpu.lowering import Lowering, Macs, refuse_missing
from edgepress.targets.xla_tpu.session import PROGRAM, WEIGHTS

if TYPE_CHECKING:
    from torch.export import ExportedProgram


MANIFEST, LOADER, PLAIN = "manifest.json", "load_model.py", "model.stablehlo"
PLATFORMS = ("tpu", "cpu")
# What it imports comes with jax; jax.export itself wants flatbuffers.
LOADER_TEXT = '''"""`load()(*inputs)` gives the output, or several; inputs as in the manifest. Wants jax, flatbuffers"""

import json
from pathlib import Path

import jax.export
import numpy as np

TYPES = {"F32": np.float32, "BF16": jax.numpy.bfloat16, "I8": np.int8, "I32": np.int32, "BOOL": np.bool_}


def load(folder=Path(__file__).parent):
    data = (folder / "weights.safetensors").read_bytes()
    start = 8 + int.from_bytes(data[:8], "little")
    weights = {}
    for name, entry in json.loads(data[8:start]).items():
        low, high = (start + place for place in entry["data_offsets"])
        weights[name] = np.frombuffer(data[low:high], TYPES[entry["dtype"]]).reshape(entry["shape"])
    program = jax.export.deserialize(bytearray((folder / "program.jax").read_bytes()))
    return lambda *inputs: jax.jit(program.call)(weights, *inputs)
'''


def convert(request: dict[str, Any]) -> dict[str, Any]:
    """Runs in the child. `request`: `program` (a .pt2 file), `signature`, `calibration` ([.npz, ...]), `trained` (a
    file of ranges), `candidates` ([[name, precision, folder], ...]), `topologies` and `sizes` to compile for (none
    where there is no libtpu).

    The answer has for each candidate `macs` ({total, int8}, of one call on the longest batch), `notes` and `builds`, or
    `refused`, the reason.
    """
    import jax
    import torch

    jax.config.update("jax_platforms", "cpu")  # type: ignore[no-untyped-call]
    # Locations would tell the folders of this machine.
    jax.config.update("jax_hlo_source_file_canonicalization_regex", ".*/")  # type: ignore[no-untyped-call]
    jax.config.update("jax_traceback_in_locations_limit", 0)  # type: ignore[no-untyped-call]
    signature = Signature.model_validate(request["signature"])
    program = torch.export.load(request["program"]).run_decompositions()
    refuse_missing(program)
    batches = [load_feeds(path) for path in request["calibration"]]
    calibrated = cache(partial(calibrate, program, signature, batches))  # the same for every int8 candidate
    answers: dict[str, Any] = {}
    for name, precision, folder in request["candidates"]:
        try:
            scales = dict(calibrated()) if precision == "int8" else {}
            notes = _trained(program, scales, request["trained"]) if name == QAT else ()
            macs = _convert(program, signature, batches, precision, scales, Path(folder), request["topologies"])
            builds = compile_for_chips(Path(folder), signature, request["topologies"], request["sizes"])
            if precision == "int8" and any(build["int8_products"] == 0 for build in builds):
                raise TargetError("libtpu kept no int8 product of the int8 program. It was refused.")
            counts = {"total": macs.int8 + macs.other, "int8": macs.int8}
            answers[name] = {"macs": counts, "builds": builds, "notes": notes}
        except TargetError as fault:
            answers[name] = {"refused": str(fault)}
    return answers


def _trained(program: ExportedProgram, scales: dict[str, float], path: str) -> tuple[str, ...]:
    """Put the scales that the model was trained with in the place of calibrated ones; a note of how many there are."""
    found = trained_scales(program, scales, load_trained(path))
    scales |= found
    return (trained_note(QAT, len(found), len(scales)),)


def _convert(
    program: ExportedProgram,
    signature: Signature,
    batches: Sequence[Feeds],
    precision: str,
    scales: Mapping[str, float],
    folder: Path,
    topologies: Sequence[str],
) -> Macs:
    """Write the files of one precision; returns what one call on the longest batch multiplies.

    Raises:
        TargetError: jax refuses the program, for instance since its shapes do not fit.
    """
    import jax

    lowering = Lowering(program, "float32" if precision == "fp32" else "bfloat16", scales)
    weights = weights_for(lowering)
    function = jax.jit(lowering.function())
    specs = {name: _aval(value.shape, value.dtype) for name, value in weights.items()}
    try:
        inputs = _inputs(signature)
        exported = jax.export.export(function, platforms=PLATFORMS)(specs, *inputs)
        plain = jax.export.export(function, platforms=PLATFORMS[:1])(specs, *inputs)
    except TargetError:
        raise
    except Exception as fault:  # jax's errors share no base class
        raise TargetError(f"jax refused the model: {told(fault)}") from fault
    macs = _macs(lowering, specs, batches[-1], signature)
    folder.mkdir(parents=True)
    (folder / PROGRAM).write_bytes(exported.serialize())
    (folder / PLAIN).write_bytes(plain.mlir_module_serialized)
    _save(weights, folder / WEIGHTS)
    (folder / LOADER).write_text(LOADER_TEXT, encoding="utf-8")
    _write_manifest(folder, exported, weights, lowering, topologies)
    return macs


def _inputs(signature: Signature) -> list[Any]:
    """Avals of the inputs; a dimension that varies is symbolic, within its bounds."""
    import jax

    varying = {name: ends for name, ends in signature.bounds.items() if ends[0] < ends[1]}
    limits = [f"{name} {sign} {end}" for name, ends in varying.items() for sign, end in zip((">=", "<="), ends)]  # noqa: B905
    scope = jax.export.SymbolicScope(limits)
    avals = []
    for spec in signature.inputs:
        sizes = [str(signature.bounds[size][0] if isinstance(size, str) and size not in varying else size)
                 for size in spec.shape]  # fmt: skip
        shape = jax.export.symbolic_shape(", ".join(sizes), scope=scope)
        avals.append(_aval(shape, "int32" if spec.dtype == "int64" else spec.dtype))
    return avals


def _aval(shape: Any, dtype: Any) -> Any:
    import jax

    return jax.ShapeDtypeStruct(shape, dtype)  # type: ignore[no-untyped-call]


def _macs(lowering: Lowering, specs: Any, feeds: Mapping[str, np.ndarray], signature: Signature) -> Macs:
    import jax

    macs = Macs()
    inputs = [feeds[spec.name] for spec in signature.inputs]
    avals = [_aval(x.shape, "int32" if x.dtype == np.int64 else x.dtype) for x in inputs]
    jax.eval_shape(lowering.function(macs), specs, *avals)
    return macs


def _save(weights: Mapping[str, np.ndarray], path: Path) -> None:
    import jax.numpy as jnp
    from safetensors.flax import save_file

    save_file({name: jnp.asarray(value) for name, value in weights.items()}, path)


def _write_manifest(
    folder: Path, exported: Any, weights: Mapping[str, Any], lowering: Lowering, topologies: Sequence[str]
) -> None:
    from importlib.util import find_spec

    from jaxlib.mlir.dialects import stablehlo

    from edgepress.targets.files import sha256_of

    facts = {
        "jax": version("jax"),
        "jaxlib": version("jaxlib"),
        "libtpu": version("libtpu") if find_spec("libtpu") else None,
        "stablehlo": stablehlo.get_current_version(),
        "topologies": list(topologies),
        "calling_convention": exported.calling_convention_version,
        "platforms": list(exported.platforms),
        "inputs": [str(aval) for aval in exported.in_avals[len(weights) :]],
        "weights": sorted(weights),
        "weights_sha256": sha256_of(folder / WEIGHTS),
        "matmul_precision": "highest" if lowering.floats == "float32" else "default",
        "floats": lowering.floats,
        "int8": dict(lowering.scales),
    }
    (folder / MANIFEST).write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
