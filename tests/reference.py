"""What the sample model finds in fifty pictures, by a path of its own: nothing of the service is used to find it.

Pillow decodes, the letterbox and the suppression are written here from the family's definition, and ONNX Runtime runs
the model as it was exported, before any surgery. `assert_agrees` holds any way of asking the service against it.
"""

from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray
from PIL import Image, ImageOps

from lookonce.forge.pictures import draw_picture

EXPORT = Path(__file__).parents[1] / "model_repository" / "cpu" / "shapes" / "1" / "source.onnx"
SIDE, GREY, CONFIDENCE, IOU, MOST = 640, 114, 0.25, 0.7, 300
BOX_PX, SCORE = 1.0, 0.01
ORIENTATION_TAG = 0x0112

Array: TypeAlias = NDArray[Any]
Row: TypeAlias = Sequence[float]
"""`x1 y1 x2 y2 score class_id`, in the picture's own pixels."""
Ask: TypeAlias = Callable[[bytes], Awaitable[Sequence[Row]]]


@dataclass(frozen=True, slots=True)
class Sample:
    name: str
    data: bytes


async def assert_agrees(ask: Ask) -> int:
    """Ask for each of the fifty pictures and compare every detection; how many there were."""
    found = {sample.name: await ask(sample.data) for sample in samples()}
    differences = {name: list(differ(rows, expected(name))) for name, rows in found.items()}
    assert not any(differences.values()), {name: said for name, said in differences.items() if said}
    return sum(map(len, found.values()))


@cache
def samples() -> tuple[Sample, ...]:
    """Odd sizes, slivers, every EXIF orientation, and every format, with and without loss."""
    slivers = {f"sliver {w}x{h}": (w, h) for w, h in ((1, 1000), (1000, 1), (4000, 3), (3, 4000))}
    made = [Sample(name, _saved(_sliver(size_wh), "PNG")) for name, size_wh in slivers.items()]
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[ORIENTATION_TAG] = orientation
        image = _drawn(orientation, (411, 287))
        made.append(Sample(f"orientation {orientation}", _saved(image, "JPEG", exif=exif, quality=92)))
    rng = np.random.default_rng(20)
    for seed in range(50 - len(made)):
        style, options = STYLES[seed % len(STYLES)]
        size_wh = int(rng.integers(20, 560)) * 2 + 1, int(rng.integers(20, 560)) * 2 + 1
        data = _saved(_drawn(100 + seed, size_wh), **options)
        made.append(Sample(f"{style} {size_wh[0]}x{size_wh[1]} of seed {100 + seed}", data))
    return tuple(made)


STYLES: tuple[tuple[str, dict[str, object]], ...] = (
    ("png", {"style": "PNG"}),
    ("jpeg 4:2:0", {"style": "JPEG", "quality": 90}),
    ("bmp", {"style": "BMP"}),
    ("jpeg 4:4:4", {"style": "JPEG", "quality": 95, "subsampling": 0}),
    ("webp", {"style": "WEBP", "lossless": True}),
    ("progressive jpeg", {"style": "JPEG", "quality": 80, "progressive": True}),
    ("tiff", {"style": "TIFF", "compression": "tiff_lzw"}),
    ("grey png", {"style": "PNG", "mode": "L"}),
    ("palette png", {"style": "PNG", "mode": "P"}),
    ("gif", {"style": "GIF"}),
)


def _drawn(seed: int, size_wh: tuple[int, int]) -> Image.Image:
    return Image.fromarray(draw_picture(seed, size_wh).image_rgb)


def _sliver(size_wh: tuple[int, int]) -> Image.Image:
    """Out of the middle of a picture that is large enough to be drawn."""
    drawn = _drawn(7, (max(size_wh[0], 64), max(size_wh[1], 64)))
    left, top = (drawn.width - size_wh[0]) // 2, (drawn.height - size_wh[1]) // 2
    return drawn.crop((left, top, left + size_wh[0], top + size_wh[1]))


def _saved(image: Image.Image, style: str, mode: str = "RGB", **options: object) -> bytes:
    file = BytesIO()
    image.convert(mode).save(file, style, **options)
    return file.getvalue()


@cache
def expected(name: str) -> tuple[Row, ...]:
    """What is in the sample of this name."""
    data = next(sample.data for sample in samples() if sample.name == name)
    return tuple(detections(data))


def detections(data: bytes, confidence: float = CONFIDENCE) -> list[Row]:
    picture = np.asarray(ImageOps.exif_transpose(Image.open(BytesIO(data))).convert("RGB"))
    height, width = picture.shape[:2]
    ratio = min(SIDE / width, SIDE / height)
    new_w, new_h = max(1, round(width * ratio)), max(1, round(height * ratio))
    left, top = round((SIDE - new_w) / 2 - 0.1), round((SIDE - new_h) / 2 - 0.1)
    canvas = np.full((SIDE, SIDE, 3), GREY, np.float32)
    canvas[top : top + new_h, left : left + new_w] = _resized(picture, new_w, new_h)
    (answer,) = _session().run(None, {_session().get_inputs()[0].name: canvas.transpose(2, 0, 1)[None] / 255})
    rows = []
    for x, y, w, h, score, class_id in _suppressed(_confident(answer[0], confidence)):
        across = [min(max((at - left) * width / new_w, 0.0), width) for at in (x - w / 2, x + w / 2)]
        down = [min(max((at - top) * height / new_h, 0.0), height) for at in (y - h / 2, y + h / 2)]
        rows.append((across[0], down[0], across[1], down[1], score, class_id))
    return rows


@cache
def _session() -> ort.InferenceSession:
    return ort.InferenceSession(EXPORT, providers=["CPUExecutionProvider"])


def _resized(picture: Array, width: int, height: int) -> Array:
    """Bilinear as the family trains with it, which is OpenCV's: weights of 11 bits, sums cut to 16 and then to 2."""
    left, right, from_left, from_right = _between(picture.shape[1], width)
    above, below, from_above, from_below = (part[..., None, None] for part in _between(picture.shape[0], height))
    whole = picture.astype(np.int32)
    lines = (whole[:, left] * from_left[:, None] + whole[:, right] * from_right[:, None]) >> 4
    upper, lower = lines[above[:, 0, 0]] * from_above >> 16, lines[below[:, 0, 0]] * from_below >> 16
    return (upper + lower + 2) >> 2


def _between(old: int, new: int) -> tuple[Array, Array, Array, Array]:
    """The two old places that each new one lies between, and their weights."""
    at = np.clip(((np.arange(new) + 0.5) * (1 / (new / old)) - 0.5).astype(np.float32), 0, old - 1)
    first = np.floor(at)
    place, part = first.astype(np.int32), at - first
    weights = np.rint(np.stack([1 - part, part]) * 2048).astype(np.int32)
    return place, np.minimum(place + 1, old - 1), *weights


def _confident(head: Array, confidence: float) -> list[Row]:
    """`x y w h score class_id` of the anchors [4 + classes, anchors] whose best class is likely enough, best first."""
    best = head[4:].max(axis=0)
    anchors = sorted(np.flatnonzero(best >= confidence), key=lambda anchor: -best[anchor])
    return [(*map(float, head[:4, at]), float(best[at]), int(head[4:, at].argmax())) for at in anchors]


def _suppressed(rows: list[Row]) -> list[Row]:
    kept: list[Row] = []
    for row in rows:
        if all(one[5] != row[5] or _iou(_corners(one), _corners(row)) <= IOU for one in kept):
            kept.append(row)
    return kept[:MOST]


def _corners(row: Row) -> Row:
    x, y, w, h = row[:4]
    return x - w / 2, y - h / 2, x + w / 2, y + h / 2


def _iou(one: Row, other: Row) -> float:
    wide = max(0.0, min(one[2], other[2]) - max(one[0], other[0]))
    high = max(0.0, min(one[3], other[3]) - max(one[1], other[1]))
    both = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (one, other))
    return wide * high / (both - wide * high) if wide * high else 0.0


def differ(found: Sequence[Row], wanted: Sequence[Row], confidence: float = CONFIDENCE) -> Iterator[str]:
    """Each detection must have its own counterpart; only what is as likely as the limit may be on one side alone."""
    left = list(wanted)
    for row in found:
        twin = next((one for one in left if _same(row, one)), None)
        if twin is not None:
            left.remove(twin)
        elif row[4] > confidence + SCORE:
            yield f"found {_said(row)} and should not have"
    yield from (f"missed {_said(row)}" for row in left if row[4] > confidence + SCORE)


def _same(one: Row, other: Row) -> bool:
    boxes_agree = all(abs(a - b) <= BOX_PX for a, b in zip(one[:4], other[:4], strict=True))
    return boxes_agree and abs(one[4] - other[4]) <= SCORE and one[5] == other[5]


def _said(row: Row) -> str:
    return " ".join(f"{value:.3f}" for value in row)
