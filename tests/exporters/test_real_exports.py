"""Files that real packages exported, through the forge, against what the packages themselves make of their outputs."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from lookonce.errors import LayoutUnknown
from lookonce.forge.feeding import fed
from lookonce.forge.parity import MOST_BOX_PX, MOST_SCORE, compare_rows
from lookonce.forge.recognise import Reading, Wishes, read
from lookonce.forge.reference import Reference
from lookonce.forge.running import Execution
from lookonce.forge.source import read_source
from lookonce.forge.surgery import rows_kept, served_graph
from lookonce.vision.heads import top_candidates
from lookonce.vision.letterbox import Fit
from lookonce.vision.nms import Suppression, suppress

Rows = NDArray[np.float32]
BATCH_ROUNDING = 3e-5
"""Of a score: sums over a batch are rounded in another order, and untrained attention makes the most of it."""
YOLOX = "its weights are named as YOLOX's"
DETR = "its attention samples a grid"
FAMILIES = {
    "yolox-decoded": ("yolox-decoded", YOLOX),
    "yolox-raw": ("yolox", YOLOX),
    "rtdetr": ("rtdetr-transformers", DETR),
    "rtdetrv2": ("rtdetr-transformers", DETR),
    "dfine": ("rtdetr-transformers", DETR),
}
EVERY = [f"{family}-{batch}" for family in FAMILIES for batch in ("free", "fixed")]
YOLOX_FILES = [name for name in EVERY if name.startswith("yolox")]
DETR_FILES = [name for name in EVERY if not name.startswith("yolox")]


@cache
def reading_of(path: Path) -> Reading:
    return read(read_source(path), Wishes())


@cache
def served_of(path: Path) -> tuple[onnx.ModelProto, int]:
    reading = reading_of(path)
    kept = rows_kept(reading, 5000)
    return served_graph(reading, kept, 8), kept


@dataclass(frozen=True, slots=True)
class Told:
    """What a package made of one picture: its input, the file's outputs, every row of them, and those it would show."""

    image: NDArray[np.uint8]
    fed: NDArray[np.float32]
    outputs: dict[str, NDArray[np.float32]]
    rows: Rows
    kept: Rows


@cache
def told_by(path: Path) -> list[Told]:
    names = reading_of(path).output_names
    with np.load(path.with_suffix(".npz")) as told:
        return [
            Told(
                image,
                told[f"{place}/fed"],
                {name: told[f"{place}/{name}"] for name in names},
                told[f"{place}/rows"],
                told[f"{place}/kept"],
            )
            for place, image in enumerate(told["images"])
        ]


def decoded(path: Path, told: Told) -> Rows:
    """Our numpy reference's rows of the very tensors that the package read."""
    reading = reading_of(path)
    outputs = [told.outputs[name] for name in reading.output_names]
    return top_candidates(reading.layout.decode(outputs, reading.spec), 5000)[0]


def test_every_file_that_was_made_is_looked_at(exports: Path) -> None:
    assert sorted(path.stem for path in exports.glob("*.onnx")) == sorted(EVERY)


@pytest.mark.parametrize("name", EVERY)
def test_the_layout_is_known_by_a_fact(exports: Path, name: str) -> None:
    reading = reading_of(exports / f"{name}.onnx")
    layout, why = FAMILIES[name.rpartition("-")[0]]
    assert (reading.layout.name, reading.spec.classes) == (layout, 12)
    assert why in reading.why


def test_each_family_is_fed_as_its_package_feeds_it(exports: Path) -> None:
    yolox, detr = (reading_of(exports / f"{name}-free.onnx").feeding for name in ("yolox-raw", "rtdetr"))
    assert (yolox.colour, yolox.std, yolox.fit) == ("bgr", (1, 1, 1), Fit.TOP_LEFT)
    assert (detr.colour, detr.std, detr.fit) == ("rgb", (255, 255, 255), Fit.STRETCH)


@pytest.mark.parametrize("name", EVERY)
def test_a_picture_is_fed_as_the_package_feeds_it(exports: Path, name: str) -> None:
    reading = reading_of(exports / f"{name}.onnx")
    for told in told_by(exports / f"{name}.onnx"):
        ours = fed(told.image[None], reading.probed.picture, reading.feeding)
        np.testing.assert_allclose(ours, told.fed, rtol=1e-6)


@pytest.mark.parametrize("name", EVERY)
def test_the_scores_are_spread_so_that_comparing_them_says_something(exports: Path, name: str) -> None:
    for told in told_by(exports / f"{name}.onnx"):
        assert np.ptp(told.rows[:, 4]) > 0.2
        assert len(set(told.rows[:, 5])) > 3


@pytest.mark.parametrize("name", YOLOX_FILES)
def test_our_decoder_gives_every_row_that_yolox_gives(exports: Path, name: str) -> None:
    path = exports / f"{name}.onnx"
    for told in told_by(path):
        compare_rows(told.rows, decoded(path, told), name)


@pytest.mark.parametrize("name", YOLOX_FILES)
def test_the_detections_after_suppression_are_those_that_yolox_shows(exports: Path, name: str) -> None:
    path, rule = exports / f"{name}.onnx", Suppression(0.25, 0.45, max_detections=10_000)
    for told in told_by(path):
        found, shown = suppress(decoded(path, told), rule), told.kept[np.argsort(-told.kept[:, 4], kind="stable")]
        assert len(found) == len(shown) > 10
        compare_rows(shown, found, name)


@pytest.mark.parametrize("name", DETR_FILES)
def test_our_decoder_gives_each_query_the_best_of_the_classes_that_transformers_gives_it(
    exports: Path, name: str
) -> None:
    """Transformers ranks pairs of query and class, so that a query may stand there twice; we keep its best class."""
    path = exports / f"{name}.onnx"
    for told in told_by(path):
        ours, theirs = decoded(path, told), told.rows
        apart = np.abs(ours[:, None] - theirs[None])
        near = apart[..., :4].max(axis=-1) <= MOST_BOX_PX
        same = near & (apart[..., 4] <= MOST_SCORE) & (apart[..., 5] == 0)
        second = near & (ours[:, None, 4] >= theirs[None, :, 4])
        ranked = ours[:, 4] > theirs[:, 4].min() + MOST_SCORE
        assert ranked.sum() > 30
        assert same[ranked].any(axis=1).all()
        assert (same | second).any(axis=0).all()


@pytest.mark.parametrize("name", EVERY)
def test_the_served_graph_equals_the_reference(exports: Path, name: str) -> None:
    path = exports / f"{name}.onnx"
    (served, kept), reference = served_of(path), Reference(reading_of(path))
    run = Execution(served, literal=True)
    for told in told_by(path):
        box_px, score = compare_rows(
            reference.candidates(told.image[None], kept)[0], run({"images": told.image[None]})[0][0], name
        )
        assert box_px <= MOST_BOX_PX
        assert score <= MOST_SCORE


@pytest.mark.parametrize("name", EVERY)
def test_a_batch_gives_what_each_of_its_pictures_gives_alone(exports: Path, name: str) -> None:
    """Where the export fixed the batch to one picture, it has been freed."""
    path = exports / f"{name}.onnx"
    run = Execution(served_of(path)[0])
    images = np.stack([told.image for told in told_by(path)])
    together = run({"images": images})[0]
    for image, rows in zip(images, together, strict=True):
        alone = run({"images": image[None]})[0][0]
        np.testing.assert_allclose(rows[:, 4], alone[:, 4], atol=BATCH_ROUNDING)
        told_apart = np.abs(np.diff(alone[:, 4], prepend=2, append=-2)) > 2 * BATCH_ROUNDING
        clear = told_apart[:-1] & told_apart[1:] & (np.abs(alone[:, :4]).max(axis=1) < 2000)
        assert clear.sum() > 30
        np.testing.assert_allclose(rows[clear, :4], alone[clear, :4], atol=MOST_BOX_PX)
        np.testing.assert_array_equal(rows[clear, 5], alone[clear, 5])


def test_a_layout_that_the_outputs_contradict_is_refused(exports: Path) -> None:
    source = read_source(exports / "yolox-raw-free.onnx")
    for layout in ("yolov8", "rtdetr-transformers"):
        with pytest.raises(LayoutUnknown, match=r"layouts that fit: .*yolox"):
            read(source, Wishes(layout=layout))
