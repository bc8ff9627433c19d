"""A torch.export program as data: the graph as JSON of known operations, the weights as safetensors; nothing in either
is ever run, imported, unpickled or evaluated, whoever wrote it."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch.fx import Node

from edgepress.targets.errors import ArtifactError, TargetError, told
from edgepress.targets.graph.export import module_of
from edgepress.targets.graph.torch_operations import operation, operation_name
from edgepress.targets.records import Record

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from torch.export import ExportedProgram
    from torch.fx import Graph, GraphModule

GRAPH_FILE, WEIGHTS_FILE = "graph.json", "weights.safetensors"
MOST_CALLS = 200_000
# "sum", "bilinear", an equation of einsum. No path, no quotation mark, no name of a file.
WORD = re.compile(r"[A-Za-z_]{0,32}|[A-Za-z, ]{1,64}(->[A-Za-z ]{0,64})?")
# Sizes are checked against the signature before a call; what the exporter asserts about them costs time only.
ASSERTIONS = re.compile(r"aten\.(_assert\w*|sym_constrain_range\w*)\.\w+")
INLINED = ("wrap_with_set_grad_enabled", "wrap_with_autocast")
KINDS = {"dtype": torch.dtype, "layout": torch.layout, "memory_format": torch.memory_format}


class Call(Record):
    """One node: an operation of `torch_operations`. Arguments are numbers, words, lists, and objects of one key:
    `{"input": 0}`, `{"weight": 0}` and `{"call": 0}` for values, `{"dtype": "int64"}` and the like, `{"float": "inf"}`.
    """

    operation: str
    args: list[Any] = []
    kwargs: dict[str, Any] = {}


class TorchGraph(Record):
    """`graph.json`. `weights`: names in weights.safetensors, by which `{"weight": 0}` counts; `output`: a value."""

    format: Literal[1] = 1
    inputs: int
    weights: tuple[str, ...]
    calls: tuple[Call, ...]
    output: Any


def save_graph(program: ExportedProgram, folder: Path, names: Sequence[str] = ()) -> None:
    """Write `graph.json` and `weights.safetensors` of a program into `folder`.

    Args:
        program: of PyTorch's own operations.
        folder: an empty one.
        names: of the outputs, in the order in which they are wanted; a program that gives a mapping has its own.

    Raises:
        TargetError: it calls an operation that is not PyTorch's own, or holds what is no tensor.
    """
    from safetensors.torch import save_file

    writer = _Writer()
    output = _in_order(writer.program(program), program, names)
    while isinstance(output, list) and len(output) == 1:
        output = output[0]
    graph = TorchGraph(
        inputs=writer.inputs, weights=tuple(writer.weights), calls=tuple(writer.calls), output=output
    )  # fmt: skip
    save_file(_apart(writer.weights), folder / WEIGHTS_FILE)
    (folder / GRAPH_FILE).write_text(graph.model_dump_json() + "\n", encoding="utf-8")


def _in_order(output: Any, program: ExportedProgram, names: Sequence[str]) -> Any:
    """The flat output of a program that gives a mapping, in the order of `names` instead of the mapping's own."""
    given = program.call_spec.out_spec
    if given is None or not isinstance(given.type, type) or not issubclass(given.type, Mapping) or not names:
        return output
    keys = list(given.context)
    return [output[keys.index(name)] for name in names if name in keys]


@dataclass
class _Writer:
    """What a walk over a program's nodes has found so far."""

    inputs: int = 0
    weights: dict[str, torch.Tensor] = field(default_factory=dict)
    calls: list[Call] = field(default_factory=list)
    _numbers: dict[tuple[object, ...], int] = field(default_factory=dict)

    def program(self, program: ExportedProgram) -> Any:
        """The encoded output of the whole graph."""
        signature = program.graph_signature
        names = {**signature.inputs_to_parameters, **signature.inputs_to_buffers}
        names |= signature.inputs_to_lifted_tensor_constants
        values: dict[Node, Any] = {}
        for node in program.graph.nodes:
            if node.op == "placeholder":
                values[node] = self._placeholder(node, names, {**program.constants, **program.state_dict})
        return self.walk(program.graph, values)

    def _placeholder(self, node: Node, names: Mapping[str, str], tensors: Mapping[str, Any]) -> Any:
        name = names.get(node.name)
        if name is None:
            self.inputs += 1
            return {"input": self.inputs - 1}
        tensor = tensors[name]
        if not isinstance(tensor, torch.Tensor):
            raise TargetError(f"pytorch has no form of {name!r}, a {type(tensor).__name__}. Replace it by tensors.")
        # Tied weights are written once.
        same = (tensor.data_ptr(), tensor.dtype, tuple(tensor.shape), tensor.stride()) if tensor.numel() else (name,)
        if same not in self._numbers:
            self._numbers[same] = len(self.weights)
            self.weights[name] = tensor.detach()
        return {"weight": self._numbers[same]}

    def walk(self, graph: Graph, values: dict[Node, Any]) -> Any:
        """Encode the nodes of one graph, whose placeholders are in `values`; its encoded output."""
        for node in graph.nodes:
            if node.op == "output":
                return self._encoded(node.args[0], values)
            if node.op == "call_function":
                values[node] = self._call(node, values)
        raise TargetError("the exported program has no output")

    def _call(self, node: Node, values: dict[Node, Any]) -> Any:
        if str(node.target) in INLINED:
            return self._inlined(node, values)
        name = operation_name(node.target)
        if name is None:
            raise TargetError(
                f"pytorch has no form of {node.target}{module_of(node)}: only PyTorch's own operations are loaded from "
                f"a file. Replace that operation in the model."
            )
        if ASSERTIONS.fullmatch(name):
            return None
        args = [self._encoded(value, values) for value in node.args]
        if name == "operator.getitem" and isinstance(args[0], list):
            return args[0][args[1]]
        kwargs = {key: self._encoded(value, values) for key, value in node.kwargs.items()}
        self.calls.append(Call(operation=name, args=args, kwargs=kwargs))
        return {"call": len(self.calls) - 1}

    def _inlined(self, node: Node, values: dict[Node, Any]) -> Any:
        """A block under no_grad, or under autocast that is off, is its body: inference knows neither."""
        place = next(i for i, arg in enumerate(node.args) if isinstance(arg, Node) and arg.op == "get_attr")
        if str(node.target) == "wrap_with_autocast" and node.args[2] is not False:
            raise TargetError(f"pytorch has no form of autocast{module_of(node)}. Load the model as float32.")
        owner: Any = node.graph.owning_module
        attribute: Any = node.args[place]
        body = owner.get_submodule(attribute.target).graph
        operands = [self._encoded(value, values) for value in node.args[place + 1 :]]
        inner = [one for one in body.nodes if one.op == "placeholder"]
        return self.walk(body, dict(zip(inner, operands, strict=True)))

    def _encoded(self, value: Any, values: Mapping[Node, Any]) -> Any:
        if isinstance(value, Node):
            return values[value]
        if isinstance(value, list | tuple):
            return [self._encoded(one, values) for one in value]
        if isinstance(value, float) and not math.isfinite(value):
            return {"float": str(value)}
        if value is None or isinstance(value, bool | int | float | str):
            return value
        if isinstance(value, torch.device):
            return {"device": value.type}
        for kind, cls in KINDS.items():
            if isinstance(value, cls):
                return {kind: str(value).removeprefix("torch.")}
        raise TargetError(f"pytorch has no form of the argument {value!r}. Replace that operation in the model.")


def _apart(weights: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Each tensor contiguous in memory of its own, as safetensors wants them."""
    return {name: tensor.contiguous().clone() for name, tensor in weights.items()}


def load_graph(folder: Path) -> GraphModule:
    """The module of a saved graph. Its code is made of numbers, known words and PyTorch's own operations alone.

    Raises:
        ArtifactError: the files are damaged, of another version, or name what is not allowed.
    """
    path = folder / GRAPH_FILE
    try:
        graph = TorchGraph.model_validate(json.loads(path.read_text(encoding="utf-8")))
        return _module(graph, _weights(folder / WEIGHTS_FILE, graph))
    except ArtifactError:
        raise
    except Exception as fault:  # whatever a foreign file makes of the parsers
        raise ArtifactError(
            f"{path} cannot be opened by torch {torch.__version__}: {told(fault)}. Export it again."
        ) from None


def _weights(path: Path, graph: TorchGraph) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    stored = load_file(path)
    if missing := sorted(set(graph.weights) - set(stored)):
        raise ArtifactError(f"{path} lacks the weight {missing[0]!r}. Export it again.")
    return {f"w{number}": stored[name] for number, name in enumerate(graph.weights)}


def _module(graph: TorchGraph, weights: dict[str, torch.Tensor]) -> GraphModule:
    if len(graph.calls) > MOST_CALLS:
        raise ValueError(f"it has {len(graph.calls)} calls, at most {MOST_CALLS} are read")
    built = torch.fx.Graph()
    reader = _Reader(
        {
            "input": [built.placeholder(f"x{number}") for number in range(min(graph.inputs, 1000))],
            "weight": [built.get_attr(name) for name in weights],
            "call": [],
        }
    )
    for call in graph.calls:
        target = operation(call.operation)
        args = tuple(reader.decoded(value) for value in call.args)
        kwargs = {_keyword(target, key): reader.decoded(value) for key, value in call.kwargs.items()}
        number = len(reader.values["call"])
        reader.values["call"].append(built.create_node("call_function", target, args, kwargs, name=f"n{number}"))
    built.output(reader.decoded(graph.output))
    return torch.fx.GraphModule(weights, built)


def _keyword(target: Callable[..., Any], key: str) -> str:
    """`key`, if the operation has an argument of that name."""
    schema = getattr(target, "_schema", None)
    if schema is None or key not in {argument.name for argument in schema.arguments}:
        raise ValueError(f"{target} has no argument {key[:40]!r}")
    return key


@dataclass(frozen=True)
class _Reader:
    """Values by number, of each kind."""

    values: dict[str, list[Node]]

    def decoded(self, value: Any) -> Any:
        if isinstance(value, list):
            return [self.decoded(one) for one in value]
        if isinstance(value, dict):
            return self._object(value)
        if isinstance(value, str) and not WORD.fullmatch(value):
            raise ValueError(f"{value[:40]!r} is no word that an operation takes")
        return value

    def _object(self, value: dict[str, Any]) -> Any:
        if len(value) != 1:
            raise ValueError(f"an argument has the keys {sorted(value)[:3]}, one is wanted")
        ((kind, content),) = value.items()
        if kind in self.values and type(content) is int and 0 <= content < len(self.values[kind]):
            return self.values[kind][content]
        if kind in KINDS and isinstance(content, str):
            found = getattr(torch, content, None)
            if isinstance(found, KINDS[kind]):
                return found
        if kind == "device" and content == "cpu":
            return torch.device("cpu")
        if kind == "float" and content in ("inf", "-inf", "nan"):
            return float(content)
        raise ValueError(f"{str(value)[:60]} is no argument")
