"""Ultralytics' `.engine`: four bytes of length, JSON of that length, and the TensorRT plan, which Triton wants bare."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal, TypeAlias

from pydantic import BeforeValidator, Field, TypeAdapter, ValidationError

from lookonce.card import INPUT, Card, Precision, RawHead, Target, Tensor
from lookonce.errors import BadModelFile, LayoutUnknown, ModelRefused
from lookonce.forge import repository
from lookonce.forge.config import RUNTIMES
from lookonce.forge.layouts.table import LAYOUTS
from lookonce.forge.source import labels_from_text
from lookonce.forge.staging import check_name, staging
from lookonce.vision.letterbox import Geometry

LENGTH_BYTES, MOST_HEADER_BYTES, LEAST_PLAN_BYTES = 4, 1 << 20, 64
PLAN_MARK = b"trt"
"""Stands in a plan from its second byte on; the first has changed over the versions."""
NO_PLAN = {b"PK": "a zip file", b"\x08": "an ONNX model", b"\x80": "a Python pickle", b"\0\0\0\0": "zeros"}
FINEST_STRIDE = 8
DENSE, FINISHED = "yolov8", "end2end"
FINISHED_ROWS, MOST_CANDIDATES = 300, 1000
Side = Annotated[int, Field(ge=32, le=8192)]
Kind: TypeAlias = Literal["FP32", "FP16"]


def _pair(value: object) -> object:
    return (value, value) if isinstance(value, int) else value


def _numbered(value: object) -> object:
    if isinstance(value, str):
        value = labels_from_text(value)
    return dict(enumerate(value)) if isinstance(value, list | tuple) else value


@dataclass(frozen=True, slots=True)
class Exported:
    """How the export was asked for; None where the exporter was too old to say."""

    half: bool | None = None
    int8: bool = False
    dynamic: bool = False
    nms: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """What the exporter says of the plan. `imgsz` is height, width."""

    task: str
    names: Annotated[dict[Annotated[int, Field(ge=0)], str], BeforeValidator(_numbered), Field(min_length=1)]
    imgsz: Annotated[tuple[Side, Side], BeforeValidator(_pair)]
    stride: Annotated[int, Field(ge=FINEST_STRIDE, le=128)] = 32
    batch: Annotated[int, Field(ge=1, le=1024)] = 1
    channels: int = 3
    end2end: bool = False
    description: str = ""
    version: str = ""
    args: Exported = field(default_factory=Exported)


@dataclass(frozen=True, slots=True)
class UltralyticsPlan:
    path: Path
    header: Header
    plan: bytes
    file_sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What a person says of the plan beside the file; `kind` is the type of its tensors, where the header is silent."""

    repository: Path
    name: str
    version: int | None = None
    labels: tuple[str, ...] | None = None
    layout: str | None = None
    kind: Kind | None = None


_headers = TypeAdapter(Header)


def import_plan(path: Path, wanted: Wanted) -> Card:
    """Publishes the bare plan as it is; its card tells the gateway how to feed and read it."""
    check_name(wanted.name)
    source = read_plan(path)
    card = card_of(source, wanted)
    repository.check_admits(wanted.repository, card)
    with staging(wanted.repository, card.name) as folder:
        (folder / RUNTIMES[Target.TENSORRT].filename).write_bytes(source.plan)
        repository.publish(wanted.repository, card, folder)
    return card


def read_plan(path: Path) -> UltralyticsPlan:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise BadModelFile(f"{path} cannot be read: {error.strerror}.") from error
    size = int.from_bytes(content[:LENGTH_BYTES], "little", signed=True)
    end = LENGTH_BYTES + size
    if not 0 < size <= MOST_HEADER_BYTES or end > len(content):
        raise BadModelFile(_no_header(path, content, size))
    header = _header(path, content[LENGTH_BYTES:end])
    return UltralyticsPlan(path, header, _plan(path, content[end:]), hashlib.sha256(content).hexdigest())


def _no_header(path: Path, content: bytes, size: int) -> str:
    if len(content) <= LENGTH_BYTES:
        return f"{path} is empty or nearly so ({len(content)} bytes); export or copy it again."
    if _is_marked(content):
        return (
            f"{path} is a bare TensorRT plan, without the header that says what it detects; import the ONNX it was "
            "built from with `lookonce model import`, then build it with `lookonce model engine`."
        )
    return (
        f"{path} is no Ultralytics .engine or was cut short: its first bytes promise a header of {size} bytes in a "
        f"file of {len(content)}; export or copy it again."
    )


def _header(path: Path, text: bytes) -> Header:
    try:
        return _headers.validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "it is no JSON"
        raise BadModelFile(
            f"{path} is no Ultralytics .engine, or its header is damaged: {place}: {first['msg']}; export it again."
        ) from error


def _plan(path: Path, plan: bytes) -> bytes:
    if len(plan) < LEAST_PLAN_BYTES:
        raise BadModelFile(f"{path} holds no plan behind its header ({len(plan)} bytes); export or copy it again.")
    found = next((what for start, what in NO_PLAN.items() if plan.startswith(start)), None)
    if found and not _is_marked(plan):
        raise BadModelFile(f"{path} holds {found} behind its header, not a TensorRT plan; export it again.")
    return plan


def _is_marked(plan: bytes) -> bool:
    return plan[1:4] == PLAN_MARK


def card_of(source: UltralyticsPlan, wanted: Wanted) -> Card:
    header = source.header
    _check_is_detector(source)
    layout, labels, kind = _layout(source, wanted), _labels(source, wanted), _kind(source, wanted)
    height, width = header.imgsz
    anchors = _anchors(header)
    batch = -1 if header.args.dynamic else header.batch
    row = {DENSE: (4 + len(labels), anchors), FINISHED: (FINISHED_ROWS, 6)}[layout]
    return Card(
        name=wanted.name,
        version=wanted.version or repository.next_version(wanted.repository, wanted.name),
        labels=labels,
        geometry=Geometry(width, height, LAYOUTS[layout].feeding.fit),
        candidates=FINISHED_ROWS if layout == FINISHED else min(MOST_CANDIDATES, anchors),
        max_batch=header.batch,
        needs_nms=LAYOUTS[layout].needs_nms,
        layout=layout,
        precision=_precision(header.args, kind),
        target=Target.TENSORRT,
        exporter=f"Ultralytics {header.version}".strip(),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        source_sha256=source.file_sha256,
        served_sha256=hashlib.sha256(source.plan).hexdigest(),
        raw=RawHead(
            picture=Tensor(INPUT, kind, (batch, 3, height, width)),
            outputs=(Tensor("output0", kind, (batch, *row)),),
        ),
    )


def _check_is_detector(source: UltralyticsPlan) -> None:
    header = source.header
    if header.task != "detect":
        raise ModelRefused(f"{source.path} is for the task {header.task!r}; LookOnce serves detectors ('detect').")
    if header.channels != 3:
        raise ModelRefused(f"{source.path} takes pictures of {header.channels} channels; LookOnce serves those of 3.")
    if any(side % header.stride for side in header.imgsz):
        height, width = header.imgsz
        raise ModelRefused(f"{source.path} says {width}x{height}, which its stride {header.stride} does not divide.")
    if any(word in header.description.lower() for word in ("rtdetr", "rt-detr")):
        raise ModelRefused(
            f"{source.path} is an RT-DETR, whose outputs its header does not tell; import its ONNX with "
            "`lookonce model import`."
        )


def _layout(source: UltralyticsPlan, wanted: Wanted) -> str:
    told = FINISHED if source.header.end2end or source.header.args.nms else DENSE
    layout = wanted.layout or told
    if layout not in (DENSE, FINISHED):
        raise LayoutUnknown(f"an Ultralytics .engine has the layout {DENSE} or {FINISHED}, not {layout!r}.")
    return layout


def _labels(source: UltralyticsPlan, wanted: Wanted) -> tuple[str, ...]:
    names: Mapping[int, str] = source.header.names
    if sorted(names) != list(range(len(names))):
        raise BadModelFile(f"{source.path} numbers its classes with gaps; give their names with `--labels`.")
    if wanted.labels is not None and len(wanted.labels) != len(names):
        raise ModelRefused(f"{source.path} has {len(names)} classes and `--labels` names {len(wanted.labels)}.")
    return wanted.labels or tuple(names[index] for index in range(len(names)))


def _kind(source: UltralyticsPlan, wanted: Wanted) -> Kind:
    half = source.header.args.half
    if wanted.kind is None and half is None:
        raise LayoutUnknown(f"{source.path} does not say what its tensors are; tell with `--tensors fp16` or `fp32`.")
    return wanted.kind or ("FP16" if half else "FP32")


def _precision(exported: Exported, kind: Kind) -> Precision:
    if exported.int8:
        return Precision.INT8
    return Precision.FP16 if exported.half or kind == "FP16" else Precision.FP32


def _anchors(header: Header) -> int:
    """How many points a dense head has: every stride from the finest to the model's own, doubling."""
    height, width = header.imgsz
    strides = [FINEST_STRIDE << step for step in range((header.stride // FINEST_STRIDE).bit_length())]
    return sum((height // stride) * (width // stride) for stride in strides)
