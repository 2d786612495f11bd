"""What a model version says of itself. It lies beside the model as `card.json` and travels in Triton's config."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field, TypeAdapter, ValidationError

from lookonce.errors import BackendContractBroken
from lookonce.vision.letterbox import Geometry

INPUT, OUTPUT = "images", "candidates"
ROW = 6
Count = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(ge=0, le=1)]


class Precision(StrEnum):
    FP32 = "fp32"
    FP16 = "fp16"
    INT8 = "int8"


class Target(StrEnum):
    """Who runs the version: TensorRT on a GPU, Triton's ONNX Runtime backend, or its Python backend on a CPU."""

    TENSORRT = "tensorrt"
    ONNXRUNTIME = "onnxruntime"
    PYTHON = "python"


class Verdict(StrEnum):
    AGREES = "agrees"
    DIFFERS = "differs"
    INSUFFICIENT = "insufficient"


@dataclass(frozen=True, slots=True)
class Parity:
    """The served graph at FP32 against the numpy reference on the untouched file.

    `rows` is how many scored above 0 and so could be compared; None where an older version did not count them.
    """

    pictures: int
    worst_box_px: float
    worst_score: float
    rows: int | None = None


@dataclass(frozen=True, slots=True)
class Agreement:
    """Detections of one precision against FP32, after suppression."""

    verdict: Verdict
    share: float
    detections: int
    pictures: int
    mean_shift_px: float
    worst_shift_px: float
    emulated: bool
    accepted: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    """The TensorRT plan of a version: from what, with what and for what it was built, and how it answers."""

    onnx_sha256: str
    tensorrt_version: str
    compute_capability: str
    gpu: str
    best_batch: Count
    built: str
    agreement: Agreement


@dataclass(frozen=True, slots=True)
class Tensor:
    """`shape` begins with the batch, -1 where it is free; `type` is Triton's word for it."""

    name: str
    type: Literal["UINT8", "FP16", "FP32"]
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class RawHead:
    """The tensors of a model that is served as it came; the card's layout says what its outputs mean.

    The picture goes in as RGB in 0..1, [N,3,H,W].
    """

    picture: Tensor
    outputs: tuple[Tensor, ...]


@dataclass(frozen=True, slots=True)
class Accuracy:
    """Mean average precision as whoever trained the model measured it and wrote it into the file."""

    map50: Share
    map50_95: Share


@dataclass(frozen=True, slots=True)
class Recipe:
    """What the graph does to its picture, in 0..255 units, and the anchors it decodes with: enough to draw it again."""

    colour: str
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    anchors_wh: tuple[tuple[tuple[float, float], ...], ...] = ()


@dataclass(frozen=True, slots=True)
class Face:
    """What every version of one name must share, for Triton has one config a name."""

    width: Count
    height: Count
    candidates: Count
    max_batch: Count
    target: Target
    raw: RawHead | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    name: str
    version: Count
    labels: tuple[str, ...]
    geometry: Geometry
    candidates: Count
    max_batch: Count
    needs_nms: bool
    layout: str
    precision: Precision
    target: Target
    exporter: str
    created: str
    source_sha256: str
    served_sha256: str
    accuracy: Accuracy | None = None
    recipe: Recipe | None = None
    parity: Parity | None = None
    agreement: Agreement | None = None
    engine: Engine | None = None
    raw: RawHead | None = None
    source_file_sha256: str = ""
    confidence: Share = 0.25
    iou: Share = 0.7

    @property
    def face(self) -> Face:
        size_wh = self.geometry.width, self.geometry.height
        return Face(*size_wh, self.candidates, self.max_batch, self.target, self.raw)

    @property
    def batch(self) -> int:
        """The first side of every tensor on the contract: -1, free, unless a version takes one picture at a time."""
        return -1 if self.max_batch > 1 else 1

    @property
    def input_tensor(self) -> Tensor:
        contract = Tensor(INPUT, "UINT8", (self.batch, self.geometry.height, self.geometry.width, 3))
        return self.raw.picture if self.raw else contract

    @property
    def output_tensors(self) -> tuple[Tensor, ...]:
        return self.raw.outputs if self.raw else (Tensor(OUTPUT, "FP32", (self.batch, self.candidates, ROW)),)


_cards = TypeAdapter(Card)


def card_to_json(card: Card, *, indent: int | None = None) -> str:
    return _cards.dump_json(card, indent=indent).decode()


def card_from_json(text: str | bytes, source: str) -> Card:
    try:
        return _cards.validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "its text"
        message = f"the card of {source} cannot be read: {place}: {first['msg']}. Import the model again."
        raise BackendContractBroken(message) from error


CARD_PREFIX, DEFAULT_VERSION = "card.", "default_version"


def cards_to_parameters(cards: Mapping[int, Card], default_version: int) -> dict[str, str]:
    """The cards as Triton's config carries them: one flat table of strings."""
    texts = {f"{CARD_PREFIX}{version}": card_to_json(cards[version]) for version in sorted(cards)}
    return texts | {DEFAULT_VERSION: str(default_version)}


def cards_from_parameters(parameters: Mapping[str, str], name: str) -> tuple[dict[int, Card], int]:
    """The cards and the default version of model `name`, out of Triton's config."""
    default = parameters.get(DEFAULT_VERSION, "")
    texts = {key.removeprefix(CARD_PREFIX): text for key, text in parameters.items() if key.startswith(CARD_PREFIX)}
    if default not in texts or not all(key.isdecimal() for key in texts):
        raise BackendContractBroken(f"model {name} carries no card; publish it with `lookonce model import`.")
    cards = {int(key): card_from_json(text, f"model {name} version {key}") for key, text in texts.items()}
    return cards, int(default)
