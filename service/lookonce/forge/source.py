"""Reading somebody's ONNX file: what it says of itself, before anything is made of it."""

import ast
import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import onnx
from google.protobuf.message import DecodeError
from onnx import helper
from onnx.external_data_helper import ExternalDataInfo, load_external_data_for_model, uses_external_data

from lookonce.errors import BadModelFile, ModelRefused

Shape: TypeAlias = tuple[int | None, ...]
OLDEST_OPSET = 11


@dataclass(frozen=True, slots=True)
class Tensor:
    """A graph's input or output; an unknown side is None."""

    name: str
    kind: str
    shape: Shape

    def __str__(self) -> str:
        return f"{self.name} {self.kind} {shape_text(self.shape)}"


@dataclass(frozen=True, slots=True)
class Source:
    path: Path
    model: onnx.ModelProto
    sha256: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    metadata: Mapping[str, str]

    @property
    def opset(self) -> int:
        return next((entry.version for entry in self.model.opset_import if entry.domain in ("", "ai.onnx")), 0)

    @property
    def exporter(self) -> str:
        parts = self.model.producer_name, self.model.producer_version, self.metadata.get("description", "")
        return " ".join(part for part in parts if part) or "unknown"

    @property
    def operators(self) -> frozenset[str]:
        return frozenset(node.op_type for node in self.model.graph.node)

    @property
    def labels(self) -> tuple[str, ...]:
        """The class names in the file's metadata; empty where there are none."""
        return labels_from_text(self.metadata.get("names", ""))


def read_source(path: Path) -> Source:
    data = _bytes_of(path)
    model = _parsed(path, data)
    digest = hashlib.sha256(data)
    for file in _load_external_data(path, model):
        digest.update(file.read_bytes())
    _check_is_whole(path, model)
    constants = {tensor.name for tensor in model.graph.initializer}
    return Source(
        path=path,
        model=model,
        sha256=digest.hexdigest(),
        inputs=tuple(_tensor(value) for value in model.graph.input if value.name not in constants),
        outputs=tuple(_tensor(value) for value in model.graph.output),
        metadata={entry.key: entry.value for entry in model.metadata_props},
    )


def shape_text(shape: Shape) -> str:
    return "[" + ",".join("?" if side is None else str(side) for side in shape) + "]"


def labels_from_text(text: str) -> tuple[str, ...]:
    """Class names from `{0: 'a', 1: 'b'}` or `['a', 'b']`; the text is parsed, never run."""
    try:
        names = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return ()
    if isinstance(names, dict) and all(isinstance(key, int) for key in names):
        names = [names[key] for key in sorted(names)]
    if not isinstance(names, list | tuple):
        return ()
    return tuple(str(name) for name in names)


def _bytes_of(path: Path) -> bytes:
    if not path.exists():
        raise BadModelFile(f"{path} does not exist.")
    if not path.is_file():
        raise BadModelFile(f"{path} is not a file; name the .onnx file itself.")
    data = path.read_bytes()
    if not data:
        raise BadModelFile(f"{path} is empty (0 bytes); export or copy it again.")
    return data


def _parsed(path: Path, data: bytes) -> onnx.ModelProto:
    model = onnx.ModelProto()
    try:
        model.ParseFromString(data)
    except DecodeError as error:
        raise BadModelFile(f"{path} is not an ONNX model or is cut short; export or copy it again.") from error
    if not model.ir_version or not model.graph.node or not model.graph.output:
        raise BadModelFile(f"{path} is not an ONNX model: it holds no graph; export it to ONNX first.")
    return model


def _load_external_data(path: Path, model: onnx.ModelProto) -> list[Path]:
    """Draws the weights that lie beside the file into the model; gives the files they lay in."""
    outside = [ExternalDataInfo(tensor) for tensor in model.graph.initializer if uses_external_data(tensor)]
    files = [path.parent / name for name in sorted({info.location for info in outside})]
    missing = [file.name for file in files if not file.is_file()]
    if missing:
        names = ", ".join(missing)
        raise BadModelFile(f"{path} keeps its weights in {names}, which is missing; put it beside the model.")
    try:
        load_external_data_for_model(model, str(path.parent))
    except (OSError, ValueError, onnx.checker.ValidationError) as error:
        raise BadModelFile(f"the weights beside {path} cannot be read; export or copy them again.") from error
    return files


def _check_is_whole(path: Path, model: onnx.ModelProto) -> None:
    known = {value.name for value in model.graph.input} | {tensor.name for tensor in model.graph.initializer}
    known |= {tensor.values.name for tensor in model.graph.sparse_initializer}
    for node in model.graph.node:
        unknown = [name for name in node.input if name and name not in known]
        if unknown:
            raise BadModelFile(
                f"{path} is broken: node {node.name or node.op_type} reads {unknown[0]}, which nothing makes."
            )
        known.update(node.output)


def _tensor(value: onnx.ValueInfoProto) -> Tensor:
    tensor = value.type.tensor_type
    kind = helper.tensor_dtype_to_np_dtype(tensor.elem_type).name if tensor.elem_type else "unknown"
    return Tensor(value.name, kind, tuple(_sides(tensor.shape)))


def _sides(shape: onnx.TensorShapeProto) -> Iterator[int | None]:
    for side in shape.dim:
        yield side.dim_value if side.HasField("dim_value") and side.dim_value > 0 else None


def check_opset(source: Source) -> None:
    if source.opset < OLDEST_OPSET:
        raise ModelRefused(f"{source.path} is of opset {source.opset}; export it with opset {OLDEST_OPSET} or newer.")
