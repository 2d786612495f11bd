"""Half precision written into the graph itself, with the arithmetic of boxes left at full precision."""

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper
from onnx.defs import OpSchema

from lookonce.errors import ModelRefused
from lookonce.forge.flow import MOVERS, Flow, Index, has_control_flow, named, opset_of, values_of
from lookonce.forge.surgery import DECODE, FRONT

HALF_MAX = float(np.finfo(np.float16).max)
LOST_SHARE = 1e-3
"""A constant that loses more than this share of its norm in half precision is not stored in it."""

SENSITIVE: dict[str, str] = {
    "CumSum": "a running sum outgrows half precision's 11 bits",
    "Exp": "overflows above 11",
    "GridSample": "places between -1 and 1 are off by hundredths of a cell of an 80 x 80 map",
    "Log": "magnifies the rounding of small values",
    "Pow": "squares of values above 255 overflow",
    "Reciprocal": "overflows below 1.5e-5",
    "ReduceL2": "squares of values above 255 overflow",
    "ReduceMean": "sums whole maps",
    "ReduceSum": "sums whole maps",
    "ReduceSumSquare": "squares of values above 255 overflow",
    "Sqrt": "follows sums of squares",
}
"""Operators that stay at full precision wherever they stand, and why."""

OWN_TYPE = frozenset(
    {"Constant", "ConstantOfShape", "DequantizeLinear", "EyeLike", "QuantizeLinear", "RandomNormalLike"}
)
"""Operators whose type an attribute or a scale decides."""


def to_fp16(model: ModelProto, keep_fp32: Collection[str] = ()) -> ModelProto:
    """The served graph with its heavy work in FP16; `images` stays UINT8, `candidates` and every box stay FP32."""
    if has_control_flow(model.graph):
        raise ModelRefused(
            "the graph holds control flow (If, Loop or Scan), which half precision cannot be written into; "
            "export the model again without it, or import it with --precision fp32."
        )
    typed = onnx.shape_inference.infer_shapes(model)
    flow = Flow(typed.graph)
    halves = frozenset(range(len(flow.nodes))) - full_nodes(typed, flow, keep_fp32)
    return _Rewriting(typed, flow, halves).done()


def full_nodes(model: ModelProto, flow: Flow, keep_fp32: Collection[str] = ()) -> frozenset[Index]:
    """The nodes that stay at full precision."""
    outputs = [output.name for output in flow.graph.output]
    grids = [node.input[1] for node in flow.nodes if node.op_type == "GridSample"]
    kept = named(flow, keep_fp32) | flow.behind([*outputs, *grids]) | {flow.maker[name] for name in outputs}
    schemas, floats, known = _Schemas(model), float_tensors(model), _known_tensors(model)
    own = {
        index
        for index, node in enumerate(flow.nodes)
        if node.op_type in SENSITIVE
        or node.op_type in OWN_TYPE
        or node.name.startswith((f"{DECODE}/", f"{FRONT}/"))
        or not any(name in flow.featured for name in (*node.input, *node.output))
        or not all(fits_half(values) for values in values_of(flow, index))
        or not schemas.admits_half(node, floats)
        or not known.issuperset(filter(None, (*node.input, *node.output)))
    }
    return _with_movers_between(flow, kept | own)


def float_tensors(model: ModelProto) -> frozenset[str]:
    """Names of all FP32 tensors whose type is known."""
    return frozenset(name for name, kind in _types(model) if kind == TensorProto.FLOAT)


def _known_tensors(model: ModelProto) -> frozenset[str]:
    return frozenset(name for name, kind in _types(model) if kind != TensorProto.UNDEFINED)


def _types(model: ModelProto) -> Iterator[tuple[str, int]]:
    graph = model.graph
    for infos in (graph.input, graph.output, graph.value_info):
        yield from ((info.name, info.type.tensor_type.elem_type) for info in infos)
    yield from ((name, tensor.data_type) for name, tensor in Flow(graph).constants.items())


def fits_half(values: NDArray[np.floating]) -> bool:
    """Whether half precision holds these values: none overflows, and little of them is lost."""
    finite = values[np.isfinite(values)].astype(np.float64)
    if not finite.size:
        return True
    if np.abs(finite).max() > HALF_MAX:
        return False
    lost = np.linalg.norm(finite - finite.astype(np.float16).astype(np.float64))
    return bool(lost <= LOST_SHARE * np.linalg.norm(finite))


def _with_movers_between(flow: Flow, full: frozenset[Index]) -> frozenset[Index]:
    """A node that only moves values between full-precision nodes is one of them: no cast there and back."""
    movers = [index for index, node in enumerate(flow.nodes) if node.op_type in MOVERS]
    grown = full
    while True:
        joined = {index for index in movers if index not in grown and _lies_within(flow, index, grown)}
        if not joined:
            return grown
        grown |= joined


def _lies_within(flow: Flow, index: Index, full: frozenset[Index]) -> bool:
    makers, takers = set(flow.makers_of(index)), set(flow.takers_of(index))
    return bool(makers and takers) and makers <= full and takers <= full


@dataclass(frozen=True, slots=True)
class _Schemas:
    """What the model's operator sets say of each operator's types."""

    model: ModelProto

    def admits_half(self, node: NodeProto, floats: Collection[str]) -> bool:
        """Whether each of the node's FP32 tensors may be FP16, or must be FP32 by the operator's definition."""
        schema = self.of(node)
        if schema is None:
            return False
        allowed = {entry.type_param_str: entry.allowed_type_strs for entry in schema.type_constraints}
        slots = (*_slots(node.input, schema.inputs), *_slots(node.output, schema.outputs))
        return all(
            "tensor(float16)" in allowed.get(kind, ["tensor(float16)"]) for name, kind in slots if name in floats
        )

    def half_slots(self, node: NodeProto) -> Iterator[tuple[int, str]]:
        """The inputs of a half-precision node that follow its type; others, as Resize's scales, are FP32 for good."""
        schema = self.of(node)
        kinds = _slots(node.input, schema.inputs) if schema else []
        return ((place, name) for place, (name, kind) in enumerate(kinds) if name and not kind.startswith("tensor("))

    def of(self, node: NodeProto) -> OpSchema | None:
        version = opset_of(self.model, node.domain)
        if not onnx.defs.has(node.op_type, version, node.domain):
            return None
        return onnx.defs.get_schema(node.op_type, version, node.domain)


def used_nodes(nodes: Sequence[NodeProto], outputs: Collection[str]) -> list[NodeProto]:
    """The nodes without those that only carry a constant which nobody takes any more."""
    used, kept = set(outputs), list[NodeProto]()
    for node in reversed(nodes):
        if node.op_type in {"Constant", "Identity"} and not used.intersection(node.output):
            continue
        used.update(node.input)
        kept.append(node)
    return kept[::-1]


def _slots(names: Iterable[str], formal: Iterable[OpSchema.FormalParameter]) -> list[tuple[str, str]]:
    kinds = [parameter.type_str for parameter in formal]
    return [(name, kinds[min(place, len(kinds) - 1)]) for place, name in enumerate(names)]


@dataclass(slots=True)
class _Rewriting:
    """One model being rewritten: `halves` become FP16, and casts stand wherever the two precisions meet."""

    model: ModelProto
    flow: Flow
    halves: frozenset[Index]
    floats: frozenset[str] = field(init=False)
    halved: frozenset[str] = field(init=False)
    schemas: _Schemas = field(init=False)
    nodes: list[NodeProto] = field(default_factory=list)
    copies: dict[str, TensorProto] = field(default_factory=dict)
    casts: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.floats = float_tensors(self.model)
        made = (name for index in self.halves for name in self.flow.nodes[index].output)
        self.halved = frozenset(name for name in made if name in self.floats)
        self.schemas = _Schemas(self.model)

    def done(self) -> ModelProto:
        for index, node in enumerate(self.flow.nodes):
            self._add(node, index in self.halves)
        rewritten = ModelProto()
        rewritten.CopyFrom(self.model)
        graph = rewritten.graph
        del graph.node[:], graph.initializer[:]
        graph.node.extend(used_nodes(self.nodes, {output.name for output in graph.output}))
        used = {name for node in graph.node for name in node.input}
        graph.initializer.extend(tensor for tensor in self.flow.graph.initializer if tensor.name in used)
        graph.initializer.extend(self.copies.values())
        for info in graph.value_info:
            if info.name in self.halved:
                info.type.tensor_type.elem_type = TensorProto.FLOAT16
        return rewritten

    def _add(self, node: NodeProto, is_half: bool) -> None:
        added = NodeProto()
        added.CopyFrom(node)
        slots = dict(self.schemas.half_slots(node)) if is_half else {}
        for place, name in enumerate(node.input):
            added.input[place] = self._as_half(name) if place in slots else self._as_full(name)
        if is_half and node.op_type == "Cast" and node.output[0] in self.halved:
            added.attribute[0].i = TensorProto.FLOAT16
        self.nodes.append(added)

    def _as_half(self, name: str) -> str:
        if name not in self.floats or name in self.halved:
            return name
        if name in self.flow.constants:
            return self._copy(name)
        return self._cast(name, TensorProto.FLOAT16)

    def _as_full(self, name: str) -> str:
        return self._cast(name, TensorProto.FLOAT) if name in self.halved else name

    def _copy(self, name: str) -> str:
        half = f"{self.flow.constants[name].name or name}/half"
        if half in self.copies:
            return half
        values = self.flow.constant(name).astype(np.float16)
        self.copies[half] = numpy_helper.from_array(values, half)
        return half

    def _cast(self, name: str, kind: int) -> str:
        if name not in self.casts:
            target = f"{name}/{'half' if kind == TensorProto.FLOAT16 else 'full'}"
            self.nodes.append(helper.make_node("Cast", [name], [target], name=target, to=kind))
            self.casts[name] = target
        return self.casts[name]
