"""What is frozen: seeded pictures and candidates of many kinds, and what the service makes of each of them now."""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from tests.reference import samples
from tests.vision.pictures import every_kind, exif, photo, saved

from lookonce.inference.embedded import Embedded
from lookonce.inference.port import Call
from lookonce.pipeline.stages import Bounds, Prepared, Preparing, finish, prepare
from lookonce.vision.letterbox import Fit, Geometry, Placement, place
from lookonce.vision.nms import Suppression

Array: TypeAlias = NDArray[Any]
Frozen: TypeAlias = dict[str, Any]
ROOT: Final = Path(__file__).parents[2]
EXPECTED: Final = Path(__file__).with_name("expected.json")
BOUNDS: Final = Bounds(20_000_000, 64_000_000, 16)
SIZES: Final = ((640, 640, 114), (416, 256, 0))
JPEG_SIZES: Final = ((1, 1), (1, 1000), (1000, 1), (640, 480), (640, 640), (641, 479), (1279, 721), (1920, 1080))


def pictures() -> dict[str, bytes]:
    turned = {f"jpeg of orientation {turn}": saved(rough(301, 207), "JPEG", exif=exif(turn)) for turn in range(1, 9)}
    sized = {f"jpeg {w}x{h}": saved(rough(w, h), "JPEG", quality=92) for w, h in JPEG_SIZES}
    sampled = {f"jpeg sampled {way}": saved(rough(1301, 703), "JPEG", subsampling=way) for way in ("4:4:4", "4:2:2")}
    large = Image.fromarray(rough(1001, 777))
    return (
        every_kind()
        | turned
        | sized
        | sampled
        | {
            "large grey jpeg": saved(large.convert("L"), "JPEG"),
            "large progressive jpeg": saved(large, "JPEG", progressive=True, exif=exif(5)),
            "large cmyk jpeg": saved(large.convert("CMYK"), "JPEG"),
            "large png": saved(large, "PNG"),
            "png 640x480": saved(rough(640, 480), "PNG"),
            "large webp": saved(large, "WEBP", quality=80),
        }
    )


def rough(width: int, height: int) -> Array:
    """Large forms under fine noise, as a photograph has them."""
    noise = np.random.default_rng(width * 5000 + height).integers(-40, 41, (height, width, 3))
    return np.clip(photo(width, height, width) + noise, 0, 255).astype(np.uint8)


def geometries() -> dict[str, Geometry]:
    return {f"{fit} {w}x{h}": Geometry(w, h, fit, pad) for fit in Fit for w, h, pad in SIZES}


def tensor_digests(data: bytes) -> Frozen:
    """Of the file, so that another encoder is told from another result, and of its tensor in each geometry."""
    digests = {"file": digest(data)}
    for name, geometry in geometries().items():
        canvas = np.full((geometry.height, geometry.width, 3), 77, np.uint8)
        prepare(data, canvas, Preparing(geometry, BOUNDS))
        digests[name] = digest(canvas)
    return digests


def candidate_sets() -> dict[str, Array]:
    """Rows `x1 y1 x2 y2 score class_id` of a 640 px input, best first but where the name says otherwise."""
    spread, heaps = boxes(300, 1), heaped(300, 12, 2)
    unsound = boxes(40, 3)
    unsound[[1, 5, 9, 13], [0, 3, 4, 5]] = np.nan
    unsound[[2, 6, 10, 14], [1, 2, 4, 5]] = np.inf
    unsound[[3, 7, 11], [0, 4, 5]] = -np.inf
    unsorted = heaps[np.random.default_rng(4).permutation(len(heaps))]
    return {
        "none": boxes(0, 5),
        "one": boxes(1, 6),
        "forty": filled_up(boxes(40, 7), 300),
        "forty in heaps": filled_up(heaped(40, 9, 8), 300),
        "three hundred": spread,
        "three hundred in heaps": heaps,
        "a thousand in one heap": heaped(1000, 1, 9),
        "ties": np.round(heaped(120, 6, 10) / [40, 40, 40, 40, 0.25, 1]).astype(np.float32) * [40, 40, 40, 40, 0.25, 1],
        "unsound": filled_up(unsound, 60),
        "not sorted": unsorted,
        "empty": filled_up(boxes(0, 5), 300),
        "inside out": boxes(30, 11)[:, [2, 1, 0, 3, 4, 5]],
    }


def boxes(count: int, seed: int) -> Array:
    rng = np.random.default_rng(seed)
    centres, sides = rng.uniform(-20, 660, (count, 2)), rng.uniform(4, 200, (count, 2))
    return rows_of(centres, sides, rng)


def heaped(count: int, heaps: int, seed: int) -> Array:
    rng = np.random.default_rng(seed)
    place = rng.integers(0, heaps, count)
    centres = rng.uniform(60, 580, (heaps, 2))[place] + rng.normal(0, 9, (count, 2))
    return rows_of(centres, rng.uniform(40, 160, (heaps, 2))[place] * rng.uniform(0.8, 1.25, (count, 2)), rng)


def rows_of(centres: Array, sides: Array, rng: np.random.Generator) -> Array:
    scores, classes = (
        np.sort(rng.uniform(0.001, 1, (len(centres), 1)), axis=0)[::-1],
        rng.integers(0, 3, (len(centres), 1)),
    )
    return np.concatenate([centres - sides / 2, centres + sides / 2, scores, classes], axis=1).astype(np.float32)


def filled_up(rows: Array, count: int) -> Array:
    empty = np.tile(np.array([0, 0, 0, 0, 0, -1], np.float32), (count - len(rows), 1))
    return np.concatenate([rows, empty])


RULES: Final[Mapping[str, Suppression]] = {
    "default": Suppression(),
    "hardly likely": Suppression(confidence=0.001, iou=0.3),
    "anything": Suppression(confidence=0, iou=0.45),
    "agnostic": Suppression(class_agnostic=True, iou=0.5),
    "two classes": Suppression(classes=(0, 2)),
    "no such class": Suppression(classes=(9,)),
    "three": Suppression(max_detections=3),
    "no": Suppression(max_detections=0),
    "soft": Suppression(soft=True),
    "soft agnostic": Suppression(soft=True, class_agnostic=True, confidence=0.05, max_detections=20),
    "finished": Suppression(needed=False),
    "first five finished": Suppression(needed=False, confidence=0, max_detections=5),
}


def placements() -> list[Placement]:
    geometry = Geometry(640, 640)
    sized = [place(size_wh, geometry) for size_wh in ((640, 480), (1920, 1080), (333, 777), (3, 1000), (8000, 6000))]
    return [*sized, *(place((1000, 667), Geometry(640, 640, fit)) for fit in (Fit.TOP_LEFT, Fit.STRETCH))]


def suppressions() -> Iterator[tuple[str, Callable[[], Frozen]]]:
    """Each set under each rule, in pixels and in shares, on one placement after another."""
    pairs = [(rows, rule) for rows in candidate_sets().items() for rule in RULES.items()]
    for turn, ((set_name, rows), (rule_name, rule)) in enumerate(pairs):
        placement = placements()[turn % 7]
        for normalized in (False, True):
            name = f"{set_name}, {rule_name}, {placement.source_wh}{', normalized' * normalized}"
            yield name, lambda rows=rows, rule=rule, at=placement, share=normalized: finished(rows, rule, at, share)


def finished(rows: Array, rule: Suppression, placement: Placement, normalized: bool) -> Frozen:
    """How many rows there are, the first of them, and the digest of them all as they are sent."""
    candidates = rows.astype(np.float32)[None]
    (seen,) = finish(candidates, [Prepared(placement, 0, 0)], rule, normalized=normalized)
    numbers = np.array(seen.numbers, np.float64).reshape(-1, 6)
    np.testing.assert_array_equal(seen.rows, numbers.astype(np.float32))
    return {"rows": len(numbers), "first": numbers[:1].tolist(), "digest": digest(numbers)}


async def found_by_the_sample() -> dict[str, list[list[float]]]:
    """What the sample model finds in ten of the reference's pictures."""
    embedded = Embedded(ROOT / "model_repository" / "cpu")
    card = (await embedded.served("shapes")).card()
    found = {}
    for sample in samples()[4::5]:
        canvas = np.empty((1, card.geometry.height, card.geometry.width, 3), np.uint8)
        prepared = prepare(sample.data, canvas[0], Preparing(card.geometry, BOUNDS))
        candidates = await embedded.infer(Call(card, canvas, 60))
        rule = Suppression(confidence=card.confidence, iou=card.iou, needed=card.needs_nms)
        found[sample.name] = finish(candidates, [prepared], rule, normalized=False)[0].numbers
    await embedded.close()
    return found


def digest(content: bytes | Array) -> str:
    return hashlib.sha256(np.ascontiguousarray(content) if isinstance(content, np.ndarray) else content).hexdigest()[
        :24
    ]
