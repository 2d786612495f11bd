"""Detections drawn onto their picture."""

import colorsys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from lookonce.vision.letterbox import Boxes, ImageRGB

ColorRGB: TypeAlias = tuple[int, int, int]
Corners: TypeAlias = tuple[int, int, int, int]
Labels: TypeAlias = Sequence[str] | Mapping[int, str]

INK: Final = (0, 0, 0)
WHITE: Final = (255, 255, 255)
FONT: Final = "sans"
"""One of OpenCV's own: Latin, Greek, Cyrillic and Chinese; what it has no letter for becomes a question mark."""
WEIGHT: Final = 500
LONGEST_LABEL: Final = 32
HUE_STEP: Final = (5**0.5 - 1) / 2
SHADES: Final = ((0.80, 1.00), (0.95, 0.75), (0.50, 1.00), (0.90, 0.52))
"""Saturation and value, in turn, for the classes whose hues come close to each other."""


@dataclass(frozen=True, slots=True)
class Pen:
    """Sizes in pixels that suit a picture."""

    stroke: int
    text: int
    tag_height: int


@dataclass(frozen=True, slots=True)
class Tag:
    """A line of text on a ground of its class's colour."""

    text: str
    ltrb: Corners
    color: ColorRGB


def annotate(image: ImageRGB, rows: Boxes, labels: Labels) -> ImageRGB:
    """A copy of the picture with a box and a tag for each row `x1 y1 x2 y2 score class_id`, in pixels, best first."""
    drawn = np.array(image, order="C")
    pen = pen_for((image.shape[1], image.shape[0]))
    for row in rows[::-1]:
        _draw_box(drawn, row, pen)
    for tag in reversed(list(_tags(rows, labels, (image.shape[1], image.shape[0])))):
        _draw_tag(drawn, tag, pen)
    return drawn


def pen_for(size_wh: tuple[int, int]) -> Pen:
    side = sum(size_wh) / 2
    text = max(10, round(4 + side / 56))
    return Pen(stroke=max(1, round(side / 320)), text=text, tag_height=round(text * 1.35))


def color_of(class_id: int) -> ColorRGB:
    """The same for a class in every picture, and far from its neighbours'."""
    saturation, value = SHADES[class_id % len(SHADES)]
    red, green, blue = colorsys.hsv_to_rgb(class_id * HUE_STEP % 1, saturation, value)
    return round(red * 255), round(green * 255), round(blue * 255)


def ink_on(color: ColorRGB) -> ColorRGB:
    """Black or white, whichever has WCAG's contrast of 4.5 to it."""
    red, green, blue = ((one / 255) ** 2.2 for one in color)
    return INK if 0.2126 * red + 0.7152 * green + 0.0722 * blue > 0.179 else WHITE


def _draw_box(image: ImageRGB, row: NDArray[np.float32], pen: Pen) -> None:
    """The whole stroke stays inside the picture; a dark rim tells it from a ground of its own colour."""
    stroke = int(np.clip((row[2:4] - row[:2]).min() / 8, 1, pen.stroke))
    highest = np.maximum(np.array([image.shape[1], image.shape[0]] * 2) - 1 - stroke // 2, 0)
    left, top, right, bottom = np.clip(np.rint(row[:4]), np.minimum(stroke // 2, highest), highest).astype(int).tolist()
    if stroke > 1:
        cv2.rectangle(image, (left, top), (right, bottom), INK, stroke + 2)
    cv2.rectangle(image, (left, top), (right, bottom), color_of(int(row[5])), stroke)


def _tags(rows: Boxes, labels: Labels, size_wh: tuple[int, int]) -> Iterator[Tag]:
    """The tags for which the picture has room; the best rows choose their place first."""
    pen = pen_for(size_wh)
    taken = np.empty((0, 4), int)
    for row in rows:
        text, width = _fitting(labels[int(row[5])], float(row[4]), pen, size_wh)
        if text:
            ltrb = _free_place(row, (width, pen.tag_height), size_wh, taken)
            taken = np.append(taken, [ltrb], axis=0)
            yield Tag(text, ltrb, color_of(int(row[5])))


def _fitting(label: str, score: float, pen: Pen, size_wh: tuple[int, int]) -> tuple[str, int]:
    """The longest text that fits across the picture, and its tag's width; none where no text does."""
    line = " ".join(label.split())
    name = line if len(line) <= LONGEST_LABEL else f"{line[: LONGEST_LABEL - 1]}…"
    if pen.tag_height <= size_wh[1]:
        for text in (f"{name} {score:.2f}", name, f"{score:.2f}"):
            _, _, width, _ = cv2.getTextSize((0, 0), text, (0, 0), cv2.FontFace(FONT), pen.text, WEIGHT)
            if width + pen.text <= size_wh[0]:
                return text, width + pen.text
    return "", 0


def _free_place(
    row: NDArray[np.float32], tag_wh: tuple[int, int], size_wh: tuple[int, int], taken: NDArray[np.int64]
) -> Corners:
    """On the box, else in its corner, else under it: where no other tag lies, else the first that is in the picture."""
    stroke = pen_for(size_wh).stroke
    x1, y1, _, y2 = np.rint(row[:4]).astype(int).tolist()
    left = min(max(x1 - (stroke + 1) // 2, 0), size_wh[0] - tag_wh[0])
    lowest = size_wh[1] - tag_wh[1]
    tops = [top for top in (y1 - stroke // 2 - tag_wh[1], y1, y2) if 0 <= top <= lowest] or [min(max(y1, 0), lowest)]
    places = [(left, top, left + tag_wh[0], top + tag_wh[1]) for top in tops]
    return next((place for place in places if not _overlaps(place, taken)), places[0])


def _overlaps(place: Corners, taken: NDArray[np.int64]) -> bool:
    left, top, right, bottom = place
    across = (taken[:, 0] < right) & (taken[:, 2] > left)
    return bool((across & (taken[:, 1] < bottom) & (taken[:, 3] > top)).any())


def _draw_tag(image: ImageRGB, tag: Tag, pen: Pen) -> None:
    left, top, right, bottom = tag.ltrb
    image[top:bottom, left:right] = tag.color
    start = left + pen.text // 2, top + round((pen.tag_height + pen.text * 0.7) / 2)
    cv2.putText(image, tag.text, start, ink_on(tag.color), cv2.FontFace(FONT), pen.text, WEIGHT)
