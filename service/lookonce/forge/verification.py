"""A published version, verified again: against the file it came from, and its precision against FP32."""

from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import onnx

from lookonce.card import Card, Parity, Precision
from lookonce.errors import FileChanged, FileMissing
from lookonce.forge.agreement import Comparison
from lookonce.forge.gallery import Gallery
from lookonce.forge.importing import (
    SERVED,
    SOURCE,
    compare_with_full,
    geometry_of,
    parity_of,
    pictures_for,
    reading_again,
)
from lookonce.forge.progress import Report, unheard
from lookonce.forge.surgery import served_graph


@dataclass(frozen=True, slots=True)
class Verified:
    """What the comparisons found; `comparison` is there where the version's precision is not FP32."""

    card: Card
    pictures: Gallery
    parity: Parity
    comparison: Comparison | None


def verify_version(folder: Path, card: Card, images: Path | None = None, report: Report = unheard) -> Verified:
    """The version in `folder`, on the pictures of another folder or on drawn ones. Raises ParityBroken."""
    served = published_graph(folder, card)
    _check_source(folder, card)
    reading = reading_again(folder, card)
    pictures = pictures_for(geometry_of(reading), images, report)
    is_full = card.precision is Precision.FP32
    full = served if is_full else served_graph(reading, card.candidates, card.max_batch)
    parity = parity_of(reading, full, card, pictures, report)
    return Verified(card, pictures, parity, compare_with_full(card, full, served, pictures, report))


def published_graph(folder: Path, card: Card) -> onnx.ModelProto:
    """The version's own graph, once its bytes are known to be those that were published."""
    return onnx.load_from_string(_bytes_as_published(folder / SERVED, card.served_sha256))


def _check_source(folder: Path, card: Card) -> None:
    """Older cards do not say what the source's file was."""
    if card.source_file_sha256:
        _bytes_as_published(folder / SOURCE, card.source_file_sha256)


def _bytes_as_published(path: Path, digest: str) -> bytes:
    if not path.is_file():
        raise FileMissing(f"{path} is missing; import the model again.")
    data = path.read_bytes()
    if sha256(data).hexdigest() != digest:
        raise FileChanged(f"{path} is not the file that was published; import the model again.")
    return data
