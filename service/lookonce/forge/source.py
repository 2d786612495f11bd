"""Reading somebody's ONNX file: what it says of itself, before anything is made of it."""

import ast
import hashlib
import json
import os
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import TypeAlias

import onnx
from google.protobuf.message import DecodeError
from onnx import helper, numpy_helper
from onnx.external_data_helper import ExternalDataInfo, load_external_data_for_model, uses_external_data

from lookonce.card import Accuracy
from lookonce.errors import BadModelFile, ModelRefused

Shape: TypeAlias = tuple[int | None, ...]
OLDEST_OPSET = 11
LONGEST_NAMES = 2**20
LARGEST_BYTES = 8 * 2**30
FOREIGN = (
    (0, b"PK\x03\x04", "is a PyTorch checkpoint or another zip archive; export it to ONNX first"),
    (0, b"ftrt", "is a TensorRT engine; import the ONNX it was built from"),
    (4, b'{"', "is an Ultralytics TensorRT engine; use `lookonce model import-engine`"),
    (4, b"TFL3", "is a TensorFlow Lite model; export it to ONNX first"),
    (0, b"\x89HDF", "is a Keras model; export it to ONNX first"),
    (0, b"version https://git-lfs", "is a Git LFS pointer; fetch the file itself with `git lfs pull`"),
)
"""What people take for an ONNX file: where its mark lies, the mark, and what to say."""


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
        return printable(" ".join(part for part in parts if part)) or "unknown"

    @property
    def accuracy(self) -> Accuracy | None:
        """What the metadata says under `map50` and `map`; None where either is no share."""
        try:
            said = Accuracy(float(self.metadata["map50"]), float(self.metadata["map"]))
        except (KeyError, ValueError):
            return None
        return said if 0 <= said.map50 <= 1 and 0 <= said.map50_95 <= 1 else None

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
    _put_in_order(model.graph)
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
    """Class names from `{0: 'a', 1: 'b'}`, `['a', 'b']` or JSON; the text is parsed, never run."""
    if len(text) > LONGEST_NAMES:
        return ()
    names = _parsed_by(json.loads, text) or _parsed_by(ast.literal_eval, text)
    if isinstance(names, dict):
        names = _in_places({str(place): name for place, name in names.items()})
    if not isinstance(names, list | tuple) or not all(isinstance(name, str | int) for name in names):
        return ()
    return tuple(printable(str(name)) for name in names)


def _parsed_by(parse: Callable[[str], object], text: str) -> object:
    try:
        return parse(text)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return None


def _in_places(names: Mapping[str, object]) -> list[object] | None:
    """The names in the order of their numbers, where these are 0, 1, 2 and so on."""
    places = [str(place) for place in range(len(names))]
    return [names[place] for place in places] if set(places) == set(names) else None


def printable(text: str) -> str:
    """The text without line breaks and escape codes."""
    return "".join(mark if mark.isprintable() else " " for mark in text).strip()


def _bytes_of(path: Path) -> bytes:
    try:
        _check_is_regular(path, path.stat())
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise BadModelFile(f"{path} does not exist; check the path.") from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise BadModelFile(f"{path} cannot be read ({reason}); check the path and its permissions.") from error
    if not data:
        raise BadModelFile(f"{path} is empty (0 bytes); export or copy it again.")
    return data


def _check_is_regular(path: Path, found: os.stat_result) -> None:
    """A pipe would be waited for without end, and a file of any size read to its end."""
    if not stat.S_ISREG(found.st_mode):
        raise BadModelFile(f"{path} is not a file; name the .onnx file itself.")
    if found.st_size > LARGEST_BYTES:
        raise BadModelFile(f"{path} holds more than {LARGEST_BYTES >> 30} GiB, as no detector does; check the path.")


def _parsed(path: Path, data: bytes) -> onnx.ModelProto:
    foreign = next((what for start, mark, what in FOREIGN if data[start : start + len(mark)] == mark), None)
    if foreign:
        raise BadModelFile(f"{path} {foreign}.")
    model = onnx.ModelProto()
    try:
        model.ParseFromString(data)
    except DecodeError as error:
        raise BadModelFile(f"{path} is not an ONNX model or is cut short; export or copy it again.") from error
    if not model.ir_version or not model.graph.node or not model.graph.output:
        raise BadModelFile(f"{path} is not an ONNX model: it holds no graph; export it to ONNX first.")
    said = [text for entry in model.metadata_props for text in (entry.key, entry.value)]
    said += [model.producer_name, model.producer_version]
    if not all(isinstance(text, str) for text in said) or not all(_is_name(name) for name in _names(model)):
        raise BadModelFile(f"{path} is damaged: a name in it is no text; export or copy it again.")
    return model


def _is_name(name: object) -> bool:
    """Protobuf gives bytes for what is no UTF-8."""
    return isinstance(name, str) and name.isprintable()


def _names(model: onnx.ModelProto) -> Iterator[object]:
    graph = model.graph
    yield from (entry.domain for entry in model.opset_import)
    yield from (value.name for value in (*graph.input, *graph.output, *graph.value_info))
    yield from (tensor.name for tensor in graph.initializer)
    for node in graph.node:
        yield from (node.name, node.op_type, node.domain, *node.input, *node.output)
        yield from (attribute.name for attribute in node.attribute)


def _load_external_data(path: Path, model: onnx.ModelProto) -> list[Path]:
    """Draws the weights that lie beside the file into the model; gives the files they lay in."""
    outside = [tensor for tensor in model.graph.initializer if uses_external_data(tensor)]
    try:
        locations = {ExternalDataInfo(tensor).location for tensor in outside}
    except ValueError as error:
        raise BadModelFile(f"{path} says of its weights' place what is no number; export it again.") from error
    if not all(map(_is_name, locations)):
        raise BadModelFile(f"{path} is damaged: it keeps its weights in a file whose name is no text; export it again.")
    files = {name: path.parent / name for name in sorted(locations)}
    folder = path.parent.resolve()
    strays = [name for name, file in files.items() if not file.resolve().is_relative_to(folder)]
    if strays:
        raise BadModelFile(f"{path} names weights outside its own folder ({strays[0]}); export it again.")
    missing = [name for name, file in files.items() if not file.is_file()]
    if missing:
        names = ", ".join(missing)
        raise BadModelFile(f"{path} keeps its weights in {names}, which is missing; put it beside the model.")
    for file in files.values():
        _check_is_regular(file, file.stat())
    try:
        load_external_data_for_model(model, str(path.parent))
    except (OSError, ValueError, onnx.checker.ValidationError) as error:
        raise BadModelFile(f"the weights beside {path} cannot be read; export or copy them again.") from error
    _check_lengths(path, outside)
    return list(files.values())


def _check_lengths(path: Path, tensors: Iterable[onnx.TensorProto]) -> None:
    for tensor in tensors:
        try:
            numpy_helper.to_array(tensor)
        except (ValueError, TypeError, KeyError) as error:
            raise BadModelFile(
                f"the weights beside {path} are cut short: {tensor.name} is not whole; copy them again."
            ) from error


def _put_in_order(graph: onnx.GraphProto) -> None:
    """Each node after those it reads: converters to half precision put their casts last. A ring stays as it is."""
    maker = {name: place for place, node in enumerate(graph.node) for name in node.output if name}
    waits = [{maker[name] for name in node.input if name in maker} for node in graph.node]
    if all(not before or max(before) < place for place, before in enumerate(waits)):
        return
    try:
        order = list(TopologicalSorter(dict(enumerate(waits))).static_order())
    except CycleError:
        return
    nodes = [graph.node[place] for place in order]
    del graph.node[:]
    graph.node.extend(nodes)


def _check_is_whole(path: Path, model: onnx.ModelProto) -> None:
    known = {value.name for value in model.graph.input} | {tensor.name for tensor in model.graph.initializer}
    known |= {tensor.values.name for tensor in model.graph.sparse_initializer}
    made = {name for node in model.graph.node for name in node.output}
    for node in model.graph.node:
        unknown = next((name for name in node.input if name and name not in known), None)
        if unknown is not None:
            what = "before it is made" if unknown in made else "which nothing makes"
            raise BadModelFile(
                f"{path} is broken: node {node.name or node.op_type} reads {unknown}, {what}; export it again."
            )
        known.update(node.output)


def _tensor(value: onnx.ValueInfoProto) -> Tensor:
    tensor = value.type.tensor_type
    return Tensor(value.name, _kind(tensor.elem_type), tuple(_sides(tensor.shape)))


def _kind(elem_type: int) -> str:
    try:
        return helper.tensor_dtype_to_np_dtype(elem_type).name
    except KeyError:
        return "unknown"


def _sides(shape: onnx.TensorShapeProto) -> Iterator[int | None]:
    for side in shape.dim:
        yield side.dim_value if side.HasField("dim_value") and side.dim_value > 0 else None


def check_opset(source: Source) -> None:
    if source.opset < OLDEST_OPSET:
        raise ModelRefused(f"{source.path} is of opset {source.opset}; export it with opset {OLDEST_OPSET} or newer.")
