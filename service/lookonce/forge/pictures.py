"""Deterministic pictures of simple shapes, with the exact box of every shape that was drawn."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
Mask = NDArray[np.float32]
Points = NDArray[np.float64]
ColorRgb = NDArray[np.float64]

LABELS: Final[tuple[str, ...]] = ("circle", "square", "triangle", "star", "hexagon", "cross")

SMALLEST_OBJECT_PX: Final = 16.0
LARGEST_OBJECT_PX: Final = 400.0
LARGEST_OBJECT_SHARE: Final = 0.8
SMALLEST_VISIBLE_SHARE: Final = 0.6
MOST_OBJECTS: Final = 12
OUTLINED_SHARE: Final = 0.4
THINNEST_STROKE_PX: Final = 1.6
TRIES_PER_OBJECT: Final = 6
TRIES_PER_COLOR: Final = 12
NEAR_COLOR_DISTANCE: Final = 55.0
MOST_NEAR_PIXELS_SHARE: Final = 0.12
SUBPIXELS: Final = 4
COVERED: Final = 0.5


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture and its ground truth: `boxes_xyxy` is float32 [M, 4] in pixels, `class_ids` is int64 [M]."""

    image_rgb: Pixels
    boxes_xyxy: NDArray[np.float32]
    class_ids: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class _Stencil:
    """The part of a shape that lies inside the picture, as pixel coverage 0..1 from `left_top` on."""

    left_top: tuple[int, int]
    body: Mask
    border: Mask
    full_area_px: float
    box_xyxy: NDArray[np.float64]

    @property
    def window(self) -> tuple[slice, slice]:
        left, top = self.left_top
        height, width = self.body.shape
        return slice(top, top + height), slice(left, left + width)

    @property
    def coverage(self) -> Mask:
        return np.maximum(self.body, self.border)


@dataclass(slots=True)
class _Canvas:
    """The pixels so far and, for each pixel, the index of the shape that owns it (-1: background)."""

    pixels_rgb: NDArray[np.float32]
    owner: NDArray[np.int32]
    full_areas_px: list[float] = field(default_factory=list)
    boxes_xyxy: list[NDArray[np.float64]] = field(default_factory=list)
    class_ids: list[int] = field(default_factory=list)

    @property
    def size_wh(self) -> tuple[int, int]:
        height, width = self.owner.shape
        return width, height


def draw_picture(seed: int, size_wh: tuple[int, int] = (640, 640)) -> Picture:
    """Draw up to 12 shapes on a random background. The same seed and size always give the same picture."""
    if min(size_wh) < 2 * SMALLEST_OBJECT_PX:
        raise ValueError(f"a picture needs at least {2 * SMALLEST_OBJECT_PX:.0f} px a side, got {size_wh}")
    rng = np.random.default_rng(seed)
    width, height = size_wh
    canvas = _Canvas(_background(rng, size_wh), np.full((height, width), -1, dtype=np.int32))
    for size_px in _object_sizes_px(rng, size_wh):
        _add_object(rng, canvas, size_px)
    return Picture(
        image_rgb=_camera(rng, canvas.pixels_rgb),
        boxes_xyxy=np.array(canvas.boxes_xyxy, dtype=np.float32).reshape(-1, 4),
        class_ids=np.array(canvas.class_ids, dtype=np.int64),
    )


def _object_sizes_px(rng: np.random.Generator, size_wh: tuple[int, int]) -> NDArray[np.float64]:
    largest = min(LARGEST_OBJECT_PX, LARGEST_OBJECT_SHARE * min(size_wh))
    room = min(1.0, size_wh[0] * size_wh[1] / 640**2)
    count = int(rng.integers(1, max(2, round(MOST_OBJECTS * np.sqrt(room))) + 1))
    sizes = np.exp(rng.uniform(np.log(SMALLEST_OBJECT_PX), np.log(largest), count))
    return np.sort(sizes)[::-1]


def _add_object(rng: np.random.Generator, canvas: _Canvas, size_px: float) -> None:
    for _ in range(TRIES_PER_OBJECT):
        class_id = int(rng.integers(len(LABELS)))
        stencil = _cut_stencil(rng, class_id, size_px, canvas.size_wh)
        if stencil is None or _hides_too_much(canvas, stencil):
            continue
        color = _visible_color(rng, canvas, stencil)
        if color is None:
            continue
        _paint(rng, canvas, stencil, color)
        canvas.class_ids.append(class_id)
        return


def _cut_stencil(rng: np.random.Generator, class_id: int, size_px: float, size_wh: tuple[int, int]) -> _Stencil | None:
    outline = _outline(rng, LABELS[class_id], size_px)
    outline += rng.uniform(0.0, 1.0, 2) * size_wh - (outline.min(axis=0) + outline.max(axis=0)) / 2
    hole = _inset(outline, max(THINNEST_STROKE_PX, size_px * float(rng.uniform(0.05, 0.11))))
    is_outlined = rng.random() < OUTLINED_SHARE
    inside = _clip(outline, size_wh)
    if len(inside) < 3 or np.ptp(inside, axis=0).min() < SMALLEST_OBJECT_PX / 2:
        return None
    left, top = (int(edge) for edge in np.floor(inside.min(axis=0)))
    right, bottom = (int(edge) for edge in np.ceil(inside.max(axis=0)))
    whole = _coverage(outline, (left, top, right, bottom))
    border = whole - np.minimum(whole, _coverage(hole, (left, top, right, bottom)))
    stencil = _Stencil(
        left_top=(left, top),
        body=np.zeros_like(whole) if is_outlined else whole,
        border=border,
        full_area_px=_area_px(outline) - (_area_px(hole) if is_outlined else 0.0),
        box_xyxy=np.concatenate([inside.min(axis=0), inside.max(axis=0)]),
    )
    if float(stencil.coverage.sum()) < SMALLEST_VISIBLE_SHARE * stencil.full_area_px:
        return None
    return stencil


def _clip(outline: Points, size_wh: tuple[int, int]) -> Points:
    """Cut an outline off at the four sides of the picture (Sutherland and Hodgman, 1974)."""
    for axis, limit, sign in ((0, 0, 1), (0, size_wh[0], -1), (1, 0, 1), (1, size_wh[1], -1)):
        depth = sign * (outline[:, axis] - limit)
        ahead, depth_ahead = np.roll(outline, -1, axis=0), np.roll(depth, -1)
        is_inside, crosses = depth >= 0, (depth >= 0) != (depth_ahead >= 0)
        share = depth / np.where(crosses, depth - depth_ahead, 1.0)
        corners = np.stack([outline, outline + share[:, None] * (ahead - outline)], axis=1)
        outline = corners[np.stack([is_inside, crosses], axis=1)]
    return np.clip(outline, 0.0, size_wh)


def _outline(rng: np.random.Generator, label: str, size_px: float) -> Points:
    points = _UNIT_SHAPES[label](rng)
    turn = rng.uniform(0.0, 2 * np.pi)
    turned: Points = points @ np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    return turned * (size_px / float(np.ptp(turned, axis=0).max()))


def _ring(count: int, radii: tuple[float, ...] = (1.0,)) -> Points:
    angles = np.arange(count) * (2 * np.pi / count)
    radius = np.resize(np.array(radii), count)
    return np.stack([radius * np.cos(angles), radius * np.sin(angles)], axis=1)


def _triangle(rng: np.random.Generator) -> Points:
    return _ring(3) * (rng.uniform(0.85, 1.2), 1.0)


def _star(rng: np.random.Generator) -> Points:
    return _ring(10, (1.0, rng.uniform(0.38, 0.5)))


def _cross(rng: np.random.Generator) -> Points:
    half = rng.uniform(0.22, 0.38)
    arm = np.array([(1.0, -half), (1.0, half), (half, half)])
    quarter_turn = np.array([[0.0, 1.0], [-1.0, 0.0]])
    return np.concatenate([arm @ np.linalg.matrix_power(quarter_turn, turns) for turns in range(4)])


_UNIT_SHAPES: Final[dict[str, Callable[[np.random.Generator], Points]]] = {
    "circle": lambda _rng: _ring(128),
    "square": lambda _rng: _ring(4),
    "triangle": _triangle,
    "star": _star,
    "hexagon": lambda _rng: _ring(6),
    "cross": _cross,
}


def _inset(outline: Points, inset_px: float) -> Points:
    """Move every edge of a counter-clockwise (in x right, y up) outline inwards, corners mitred."""
    before = outline - np.roll(outline, 1, axis=0)
    before /= np.linalg.norm(before, axis=1, keepdims=True)
    after = np.roll(before, -1, axis=0)
    inward = np.stack([-before[:, 1] - after[:, 1], before[:, 0] + after[:, 0]], axis=1)
    mitre: Points = 2 * inset_px / np.square(inward).sum(axis=1, keepdims=True)
    return outline + inward * mitre


def _area_px(outline: Points) -> float:
    ahead = np.roll(outline, -1, axis=0)
    return abs(float(np.sum(outline[:, 0] * ahead[:, 1] - ahead[:, 0] * outline[:, 1]))) / 2


def _coverage(outline: Points, window_ltrb: tuple[int, int, int, int]) -> Mask:
    left, top, right, bottom = window_ltrb
    fine = np.zeros(((bottom - top) * SUBPIXELS, (right - left) * SUBPIXELS), dtype=np.uint8)
    fixed_point = np.round(((outline - (left, top)) * SUBPIXELS - 0.5) * 16).astype(np.int32)
    cv2.fillPoly(fine, [fixed_point], 255, cv2.LINE_8, 4)
    coarse = cv2.resize(fine, (right - left, bottom - top), interpolation=cv2.INTER_AREA)
    return coarse.astype(np.float32) / np.float32(255)


def _hides_too_much(canvas: _Canvas, stencil: _Stencil) -> bool:
    hidden = canvas.owner[stencil.window][stencil.coverage > COVERED]
    for index in np.unique(hidden[hidden >= 0]):
        still_visible = np.count_nonzero(canvas.owner == index) - np.count_nonzero(hidden == index)
        if still_visible < SMALLEST_VISIBLE_SHARE * canvas.full_areas_px[index]:
            return True
    return False


def _visible_color(rng: np.random.Generator, canvas: _Canvas, stencil: _Stencil) -> ColorRgb | None:
    around = cv2.dilate(stencil.coverage, np.ones((5, 5), dtype=np.uint8)) > COVERED
    beneath = canvas.pixels_rgb[stencil.window][around]
    beneath = beneath[:: max(1, len(beneath) // 2000)]
    for _ in range(TRIES_PER_COLOR):
        color = rng.uniform(0.0, 255.0, 3)
        distance = np.linalg.norm(beneath - color, axis=1)
        if np.mean(distance < NEAR_COLOR_DISTANCE) < MOST_NEAR_PIXELS_SHARE:
            return color
    return None


def _paint(rng: np.random.Generator, canvas: _Canvas, stencil: _Stencil, color: ColorRgb) -> None:
    has_inner_color = bool(stencil.body.any()) and rng.random() < 0.25
    inner = rng.uniform(0.0, 255.0, 3) if has_inner_color else color
    target = canvas.pixels_rgb[stencil.window]
    for coverage, layer_color in ((stencil.body, inner), (stencil.border, color)):
        target += coverage[..., None] * (layer_color.astype(np.float32) - target)
    canvas.owner[stencil.window][stencil.coverage > COVERED] = len(canvas.boxes_xyxy)
    canvas.full_areas_px.append(stencil.full_area_px)
    canvas.boxes_xyxy.append(stencil.box_xyxy)


def _background(rng: np.random.Generator, size_wh: tuple[int, int]) -> NDArray[np.float32]:
    makers = (_plain, _gradient, _texture, _stripes, _clutter)
    maker = makers[int(rng.choice(len(makers), p=(0.15, 0.2, 0.25, 0.1, 0.3)))]
    return np.clip(maker(rng, size_wh), 0.0, 255.0).astype(np.float32)


def _plain(rng: np.random.Generator, size_wh: tuple[int, int]) -> NDArray[np.float32]:
    width, height = size_wh
    return np.tile(rng.uniform(0.0, 255.0, 3).astype(np.float32), (height, width, 1))


def _gradient(rng: np.random.Generator, size_wh: tuple[int, int]) -> NDArray[np.float32]:
    return _blend(rng, _ramp(rng, size_wh))


def _texture(rng: np.random.Generator, size_wh: tuple[int, int]) -> NDArray[np.float32]:
    width, height = size_wh
    grain = np.zeros((height, width), dtype=np.float32)
    for cells in rng.choice((3, 6, 12, 24, 48, 96), size=3, replace=False):
        coarse = rng.uniform(0.0, 1.0, (int(cells), int(cells))).astype(np.float32)
        grain += cv2.resize(coarse, size_wh, interpolation=cv2.INTER_CUBIC) / 3
    return _blend(rng, grain)


def _stripes(rng: np.random.Generator, size_wh: tuple[int, int]) -> NDArray[np.float32]:
    cycles = float(rng.uniform(3.0, 25.0))
    waves = np.sin(_ramp(rng, size_wh) * np.float32(2 * np.pi * cycles))
    return _blend(rng, waves * np.float32(rng.uniform(0.1, 0.4)) + np.float32(0.5))


def _clutter(rng: np.random.Generator, size_wh: tuple[int, int]) -> NDArray[np.float32]:
    base = (_plain, _gradient, _texture)[int(rng.integers(3))](rng, size_wh)
    scrap = np.clip(base, 0.0, 255.0).astype(np.uint8)
    for _ in range(int(rng.integers(4, 25))):
        scraps = (_draw_line, _draw_wave, _draw_ellipse, _draw_scribble)
        scraps[int(rng.integers(len(scraps)))](rng, scrap)
    return base + (scrap.astype(np.float32) - base) * np.float32(rng.uniform(0.3, 1.0))


def _ramp(rng: np.random.Generator, size_wh: tuple[int, int]) -> NDArray[np.float32]:
    width, height = size_wh
    turn = rng.uniform(0.0, 2 * np.pi)
    across = np.linspace(-0.5, 0.5, width) * float(np.cos(turn))
    down = np.linspace(-0.5, 0.5, height) * float(np.sin(turn))
    return np.add.outer(down, across + 0.5).astype(np.float32)


def _blend(rng: np.random.Generator, share: NDArray[np.float32]) -> NDArray[np.float32]:
    start: NDArray[np.float32] = rng.uniform(0.0, 255.0, 3).astype(np.float32)
    end: NDArray[np.float32] = rng.uniform(0.0, 255.0, 3).astype(np.float32)
    return start + share[..., None] * (end - start)


def _random_pen(rng: np.random.Generator) -> tuple[float, float, float]:
    red, green, blue = rng.uniform(0.0, 255.0, 3)
    return float(red), float(green), float(blue)


def _random_point(rng: np.random.Generator, image_rgb: Pixels) -> tuple[int, int]:
    height, width = image_rgb.shape[:2]
    return int(rng.integers(width)), int(rng.integers(height))


def _draw_line(rng: np.random.Generator, image_rgb: Pixels) -> None:
    start, end = _random_point(rng, image_rgb), _random_point(rng, image_rgb)
    cv2.line(image_rgb, start, end, _random_pen(rng), int(rng.integers(1, 9)), cv2.LINE_AA)


def _draw_wave(rng: np.random.Generator, image_rgb: Pixels) -> None:
    steps = np.linspace(0.0, 1.0, 40)
    start, end = np.array(_random_point(rng, image_rgb)), np.array(_random_point(rng, image_rgb))
    straight = start + steps[:, None] * (end - start)
    swing = np.sin(steps * rng.uniform(3.0, 20.0)) * rng.uniform(5.0, 40.0)
    bent = straight + swing[:, None] * rng.uniform(-1.0, 1.0, 2)
    thickness = int(rng.integers(1, 6))
    cv2.polylines(image_rgb, [bent.astype(np.int32)], False, _random_pen(rng), thickness, cv2.LINE_AA)


def _draw_ellipse(rng: np.random.Generator, image_rgb: Pixels) -> None:
    long_px = int(rng.integers(12, 120))
    axes = (long_px, max(2, round(long_px * float(rng.uniform(0.15, 0.5)))))
    thickness = -1 if rng.random() < 0.5 else int(rng.integers(1, 7))
    turn_degrees = float(rng.uniform(0.0, 180.0))
    center = _random_point(rng, image_rgb)
    cv2.ellipse(image_rgb, center, axes, turn_degrees, 0.0, 360.0, _random_pen(rng), thickness, cv2.LINE_AA)


def _draw_scribble(rng: np.random.Generator, image_rgb: Pixels) -> None:
    reach_px, corners = float(rng.uniform(8.0, 60.0)), int(rng.integers(3, 9))
    bent = np.array(_random_point(rng, image_rgb)) + rng.uniform(-reach_px, reach_px, (corners, 2))
    thickness = int(rng.integers(1, 5))
    cv2.polylines(image_rgb, [bent.astype(np.int32)], False, _random_pen(rng), thickness, cv2.LINE_AA)


def _camera(rng: np.random.Generator, pixels_rgb: NDArray[np.float32]) -> Pixels:
    seen = pixels_rgb
    if rng.random() < 0.35:
        seen = cv2.GaussianBlur(seen, (0, 0), float(rng.uniform(0.4, 1.2))).astype(np.float32)
    if rng.random() < 0.5:
        noise = rng.standard_normal(seen.shape, dtype=np.float32)
        seen = seen + noise * np.float32(rng.uniform(1.0, 14.0))
    return np.clip(np.rint(seen), 0, 255).astype(np.uint8)
