"""A .tflite file as Python sees it: operators by name, with the tensors they read."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from edgepress.targets.graph.fixed import values_digest


@dataclass(frozen=True)
class View:
    """The flatbuffer's own objects (`model`) and module (`schema`)."""

    model: Any
    schema: Any

    @classmethod
    def of(cls, path: Path) -> View:
        from ai_edge_litert import schema_py_generated as schema

        return cls(schema.ModelT.InitFromPackedBuf(path.read_bytes(), 0), schema)

    def versions(self) -> list[tuple[str, int]]:
        """(name, version) of each kind of operator in the file."""
        names = self._names
        return [(names[code.builtinCode], code.version) for code in self.model.operatorCodes]

    def name_of(self, operator: Any) -> str:
        """What kind of operator it is."""
        return self._names[self.model.operatorCodes[operator.opcodeIndex].builtinCode]

    def operators(self, signature: str | None = None) -> Iterator[tuple[str, list[Any]]]:
        """(name, the tensors it reads and then those it writes) of each operator of one signature, or of all."""
        for index, graph in enumerate(self.model.subgraphs):
            if signature is None or index == self._graph_of(signature):
                for operator in graph.operators:
                    places = [place for place in (*operator.inputs, *operator.outputs) if place >= 0]
                    yield self.name_of(operator), [graph.tensors[place] for place in places]

    def is_int8(self, tensor: Any) -> bool:
        return bool(tensor.type == self.schema.TensorType.INT8)

    def is_float(self, tensor: Any) -> bool:
        return bool(tensor.type == self.schema.TensorType.FLOAT32)

    def is_constant(self, tensor: Any) -> bool:
        """Whether its values are in the file; large ones lie behind the graph, by their offset."""
        buffer = self.model.buffers[tensor.buffer]
        return bool(buffer.offset) or (buffer.data is not None and len(buffer.data) > 0)

    def before_products(self, weights: Collection[str]) -> set[str]:
        """Names of the tensors that are written up to and by the operators which read one of some constants.

        Args:
            weights: `values_digest` of each constant.
        """
        found: set[str] = set()
        for graph in self.model.subgraphs:
            wanted = {place for place, tensor in enumerate(graph.tensors) if self._digest(tensor) in weights}
            for operator in reversed(graph.operators):
                if wanted & {*operator.inputs, *operator.outputs}:
                    wanted |= {*operator.inputs, *operator.outputs}
                    found |= {graph.tensors[place].name.decode() for place in operator.outputs}
        return found

    def _digest(self, tensor: Any) -> str:
        data = self.model.buffers[tensor.buffer].data
        is_weight = self.is_float(tensor) and data is not None and len(data) > 0
        return values_digest(np.asarray(data, np.uint8).view(np.float32)) if is_weight else ""

    def _graph_of(self, signature: str) -> int:
        found = (one.subgraphIndex for one in self.model.signatureDefs if one.signatureKey.decode() == signature)
        return int(next(found))

    @cached_property
    def _names(self) -> dict[int, str]:
        return {value: name for name, value in vars(self.schema.BuiltinOperator).items() if isinstance(value, int)}
