"""The whole import: read, draw, compare, and only then publish."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

import onnx

from lookonce.card import Card, Parity, Precision, Recipe, Target
from lookonce.errors import ModelRefused
from lookonce.forge import gallery
from lookonce.forge.agreement import Comparison, Rule, compare, gate
from lookonce.forge.gallery import Gallery
from lookonce.forge.half import to_fp16
from lookonce.forge.parity import OneRun, check_parity, is_half
from lookonce.forge.progress import Report, unheard
from lookonce.forge.quantise import quantise
from lookonce.forge.recognise import Reading, Wishes, read
from lookonce.forge.reference import Reference
from lookonce.forge.repository import check_admits, next_version, publish
from lookonce.forge.rounding import runner_at
from lookonce.forge.running import Candidates, Images, runner_of
from lookonce.forge.source import Source, read_source
from lookonce.forge.staging import check_name, staging
from lookonce.forge.surgery import MOST_CANDIDATES, rows_kept, served_graph
from lookonce.vision.letterbox import Geometry

SERVED, SOURCE = "model.onnx", "source.onnx"
PARITY_PICTURES, DRAWN_PICTURES, FOLDER_PICTURES = 8, 48, 500
MOST_BATCH, LAST_VERSION = 1024, 2**31 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What the person asked for."""

    file: Path
    name: str
    repository: Path
    version: int | None = None
    wishes: Wishes = field(default_factory=Wishes)
    precision: Precision = Precision.FP32
    target: Target = Target.PYTHON
    max_batch: int = 8
    candidates: int = 1000
    calibration: Path | None = None
    images: Path | None = None
    accept: bool = False


@dataclass(frozen=True, slots=True)
class Imported:
    """What was published; `comparison` is there where a lower precision was asked for."""

    card: Card
    reading: Reading
    pictures: Gallery
    comparison: Comparison | None


def import_model(order: Order, report: Report = unheard) -> Imported:
    check_name(order.name)
    _check_numbers(order)
    report("reading the model", 0, 1)
    reading = read(read_source(order.file), order.wishes)
    geometry = geometry_of(reading)
    pictures = pictures_for(geometry, order.images, report)
    with staging(order.repository, order.name) as folder:
        card = _card(order, reading, order.version or next_version(order.repository, order.name))
        check_admits(order.repository, card)
        full = served_graph(reading, card.candidates, card.max_batch)
        parity = parity_of(reading, full, card, pictures, report)
        served = _at_precision(order, full, geometry, report)
        comparison = compare_with_full(card, full, served, pictures, report)
        agreement = gate(comparison, accept=order.accept) if comparison else None
        finished = replace(_write(folder, card, served, reading), parity=parity, agreement=agreement)
        publish(order.repository, finished, folder)
    return Imported(finished, reading, pictures, comparison)


def geometry_of(reading: Reading) -> Geometry:
    return Geometry(reading.spec.width, reading.spec.height, reading.feeding.fit)


def pictures_for(geometry: Geometry, folder: Path | None, report: Report = unheard) -> Gallery:
    if folder is None:
        return gallery.drawn(geometry, DRAWN_PICTURES)
    found = gallery.in_folder(folder, geometry, FOLDER_PICTURES, report)
    if not len(found):
        raise ModelRefused(f"{folder} holds no picture that can be read; give another folder with --images.")
    return found


def parity_of(
    reading: Reading, full: onnx.ModelProto, card: Card, pictures: Sequence[Images], report: Report = unheard
) -> Parity:
    few = pictures[:PARITY_PICTURES]
    if is_half(reading):
        both = OneRun(reading, full)
        return check_parity(both.reference, both.served, few, report)
    reference = Reference(reading)

    def answer(images: Images) -> Candidates:
        return reference.candidates(images, card.candidates)

    return check_parity(answer, runner_of(full, literal=True), few, report)


def compare_with_full(
    card: Card, full: onnx.ModelProto, served: onnx.ModelProto, pictures: Sequence[Images], report: Report = unheard
) -> Comparison | None:
    if card.precision is Precision.FP32:
        return None
    rule = Rule(card.precision, needs_nms=card.needs_nms, emulated=card.precision is Precision.FP16)
    return compare(runner_of(full), runner_at(card.precision, served), pictures, rule, report)


def reading_again(folder: Path, card: Card) -> Reading:
    """The reading of a published version, from the untouched source that lies in its folder."""
    recipe = card.recipe
    if recipe is None or not (folder / SOURCE).is_file():
        raise ModelRefused(f"{folder} holds no {SOURCE}, which verification needs; import the model again.")
    wishes = Wishes(
        layout=card.layout,
        size_wh=(card.geometry.width, card.geometry.height),
        labels=card.labels,
        anchors_wh=recipe.anchors_wh or None,
        colour=recipe.colour,
        mean=recipe.mean,
        std=recipe.std,
        fit=card.geometry.fit,
    )
    return read(read_source(folder / SOURCE), wishes)


def _check_numbers(order: Order) -> None:
    if not 1 <= order.max_batch <= MOST_BATCH:
        raise ModelRefused(f"--max-batch {order.max_batch} is out of range; choose 1 to {MOST_BATCH}.")
    if not 1 <= order.candidates <= MOST_CANDIDATES:
        raise ModelRefused(f"--candidates {order.candidates} is out of range; choose 1 to {MOST_CANDIDATES}.")
    if order.version is not None and not 1 <= order.version <= LAST_VERSION:
        raise ModelRefused(f"--version {order.version} is out of range; versions are 1, 2, 3 up to {LAST_VERSION}.")
    if order.precision is Precision.INT8 and order.calibration is None:
        raise ModelRefused("--precision int8 is calibrated on pictures; give a folder of them with --calibration.")


def _card(order: Order, reading: Reading, version: int) -> Card:
    """All but what only the finished file can tell."""
    feeding, source = reading.feeding, reading.probed.source
    return Card(
        name=order.name,
        version=version,
        labels=reading.labels,
        geometry=geometry_of(reading),
        candidates=rows_kept(reading, order.candidates),
        max_batch=order.max_batch,
        needs_nms=reading.layout.needs_nms,
        layout=reading.layout.name,
        precision=order.precision,
        target=order.target,
        exporter=source.exporter,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        source_sha256=source.sha256,
        served_sha256="",
        accuracy=source.accuracy,
        recipe=Recipe(feeding.colour, feeding.mean, feeding.std, reading.spec.anchors_wh),
    )


def _at_precision(order: Order, full: onnx.ModelProto, geometry: Geometry, report: Report) -> onnx.ModelProto:
    if order.precision is Precision.FP16:
        report("writing half precision", 0, 1)
        return to_fp16(full)
    if order.precision is Precision.INT8 and order.calibration is not None:
        return quantise(full, order.calibration, geometry, report)
    return full


def _write(folder: Path, card: Card, served: onnx.ModelProto, reading: Reading) -> Card:
    """Both files, and the card with their digests."""
    files = {SERVED: served.SerializeToString(), SOURCE: _source_bytes(reading.probed.source)}
    for name, data in files.items():
        (folder / name).write_bytes(data)
    digests = {name: sha256(data).hexdigest() for name, data in files.items()}
    return replace(card, served_sha256=digests[SERVED], source_file_sha256=digests[SOURCE])


def _source_bytes(source: Source) -> bytes:
    """The file as it came; where its weights lie beside it, or it is no longer there, one file with all of it."""
    data = source.path.read_bytes() if source.path.is_file() else b""
    return data if sha256(data).hexdigest() == source.sha256 else source.model.SerializeToString()
