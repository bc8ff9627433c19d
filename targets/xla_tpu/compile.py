"""Ahead-of-time compilation for TPUs that are not here: what the compiler made, and what it estimates."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from edgepress.targets.errors import TargetError, told
from edgepress.targets.records import Signature
from edgepress.targets.xla_tpu.chips import CHIPS, Chip
from edgepress.targets.xla_tpu.session import PROGRAM

DEFINITION = re.compile(r"(%?[\w.-]+) = \(?(\w+)\[")
PRODUCT = re.compile(r"= (\w+)\[[^=]*? (?:convolution|dot)\(([^)]*)\)")


def sizes_to_compile(signature: Signature, batches: Sequence[int], sequences: Sequence[int]) -> list[dict[str, int]]:
    """Every combination within the bounds; where none of a dimension's is, its largest size stands for it."""
    wanted = {"batch": batches, "sequence": sequences}
    found: list[dict[str, int]] = [{}]
    for name in dict.fromkeys(size for spec in signature.inputs for size in spec.shape if isinstance(size, str)):
        low, high = signature.bounds[name]
        fitting = [size for size in wanted.get(name, ()) if low <= size <= high] or [high]
        found = [{**sizes, name: size} for sizes in found for size in fitting]
    return found


def count_products(text: str) -> dict[str, int]:
    """Products of an optimized HLO text by the type of their operands.

    >>> count_products("%a = s8[2,2] x()\\n%b = s8[2,2] x()\\n%c = s32[2,2]{1,0} convolution(%a, %b), dim_labels=bf")
    {'int8': 1, 'half': 0, 'float': 0}
    """
    types = {name.lstrip("%"): kind for name, kind in DEFINITION.findall(text)}
    counts = {"int8": 0, "half": 0, "float": 0}
    for _, operands in PRODUCT.findall(text):
        names = re.findall(r"%([\w.-]+)", operands)
        kinds = {types.get(name, "") for name in names}
        counts["int8" if kinds == {"s8"} else "half" if "bf16" in kinds else "float"] += 1
    return counts


def estimated_cycles(text: str) -> int:
    """The compiler's estimate, summed over the entry computation of an optimized HLO text: those of a fusion cover what
    it calls.

    >>> estimated_cycles('%a {\\n x, {"estimated_cycles":"5"}\\n}\\nENTRY %m {\\n y, {"estimated_cycles":"7"}\\n}')
    7
    """
    entry = text[text.find("ENTRY ") :].partition("\n}")[0]
    return sum(map(int, re.findall(r'"estimated_cycles":"?(\d+)', entry)))


def bound_ms(chip: Chip, products: Mapping[str, int], flops: float, read: float) -> float | None:
    """The least time that the chip's published peaks allow for `flops` operations and `read` bytes; None where the
    compiler tells no operations. The int8 peak counts where most products are int8.

    >>> chip = Chip(half=100e12, int8=200e12, bandwidth=1e12, clock=1e9, topology="")
    >>> counts = {"int8": 3, "half": 1, "float": 0}
    >>> bound_ms(chip, counts, 2e12, 5e9), bound_ms(chip, counts | {"half": 9}, 2e12, 5e9), bound_ms(chip, counts, 0, 1)
    (10.0, 20.0, None)
    >>> bound_ms(chip, counts, 2e12, 30e9)
    30.0
    """
    peak = chip.int8 if products["int8"] > products["half"] + products["float"] else chip.half
    return max(flops / peak, read / chip.bandwidth) * 1e3 if flops > 0 else None


def compile_for_chips(
    folder: Path, signature: Signature, chips: Sequence[str], sizes: Sequence[dict[str, int]]
) -> list[dict[str, Any]]:
    """One `HardwareBuild` for each topology and sizes. Raises TargetError where libtpu refuses."""
    import jax
    import jax.export
    from jax.experimental import topologies

    exported = jax.export.deserialize(bytearray((folder / PROGRAM).read_bytes()))
    builds = []
    for name in chips:
        try:
            device = topologies.get_topology_desc(
                platform="tpu", topology_name=CHIPS[name].topology, chips_per_host_bounds=[1, 1, 1]
            ).devices[0]
            builds += [_build(name, device, exported, signature, each) for each in sizes]
        except Exception as fault:  # jaxlib's errors share no base class
            raise TargetError(f"libtpu refused TPU {name}: {told(fault)}") from fault
    return builds


def _build(name: str, device: Any, exported: Any, signature: Signature, sizes: dict[str, int]) -> dict[str, Any]:
    import jax
    from jax.experimental import serialize_executable

    sharding = jax.sharding.SingleDeviceSharding(device)
    count = len(exported.in_avals) - len(signature.inputs)
    shapes = [aval.shape for aval in exported.in_avals[:count]]
    shapes += [tuple(sizes.get(str(size), size) for size in spec.shape) for spec in signature.inputs]
    avals = [
        jax.ShapeDtypeStruct(shape, aval.dtype, sharding=sharding)  # type: ignore[no-untyped-call]
        for shape, aval in zip(shapes, exported.in_avals, strict=True)
    ]
    arguments, named = jax.tree.unflatten(exported.in_tree, avals)
    lowered = jax.jit(exported.call).trace(*arguments, **named).lower(lowering_platforms=("tpu",))
    compiled = lowered.compile()
    text, memory, chip = compiled.as_text(), compiled.memory_analysis(), CHIPS[name]
    products = count_products(text)
    cycles = estimated_cycles(text)
    flops = float(compiled.cost_analysis().get("flops", 0.0))
    read = memory.argument_size_in_bytes + memory.output_size_in_bytes
    return {
        "hardware": f"TPU {name}",
        "sizes": sizes,
        **{f"{kind}_products": number for kind, number in products.items()},
        "code_bytes": len(serialize_executable.serialize(compiled)[0]),
        "memory_bytes": int(read + memory.temp_size_in_bytes),
        "estimated_ms": cycles / chip.clock * 1e3 if cycles else None,
        "roofline_ms": bound_ms(chip, products, flops, read),
        "source": f"libtpu {version('libtpu')}",
        "notes": ["clock derived from the published peak"],
    }
