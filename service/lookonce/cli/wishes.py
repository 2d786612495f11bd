"""The options by which a person says what a file cannot: shared by `inspect` and `import`."""

import math
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, TypeAlias, TypeVar

import typer

from lookonce.errors import ModelRefused
from lookonce.forge.recognise import Wishes
from lookonce.forge.source import LONGEST_NAMES, labels_from_text, printable
from lookonce.vision.heads import Anchors
from lookonce.vision.letterbox import Fit

Said = TypeVar("Said")
Value = TypeVar("Value")
LONGEST_SIDE = 5
"""Digits of a width or height."""

File: TypeAlias = Annotated[Path, typer.Argument(help="The ONNX file.", show_default=False)]
LayoutName: TypeAlias = Annotated[
    str | None, typer.Option("--layout", help="What the outputs are, where facts do not decide.")
]
Labels: TypeAlias = Annotated[Path | None, typer.Option(help="Class names: a line each, or a Python or JSON list.")]
Size: TypeAlias = Annotated[
    str | None, typer.Option(help="Width x height, where the file leaves them open.", metavar="WxH")
]
AnchorsText: TypeAlias = Annotated[
    str | None, typer.Option("--anchors", help="Anchors other than the family's: w,h w,h …, finest head first.")
]
Colour: TypeAlias = Annotated[str | None, typer.Option(help="rgb or bgr, where not the family's.")]
Mean: TypeAlias = Annotated[str | None, typer.Option(help="r,g,b taken off the picture, in 0..255.")]
Std: TypeAlias = Annotated[str | None, typer.Option(help="r,g,b the picture is divided by, in 0..255.")]
FitName: TypeAlias = Annotated[Fit | None, typer.Option("--fit", help="How a picture meets the input.")]


def wishes_of(
    layout: str | None,
    size: str | None,
    labels: Path | None,
    anchors: str | None,
    colour: str | None,
    mean: str | None,
    std: str | None,
    fit: Fit | None,
) -> Wishes:
    return Wishes(
        layout=layout,
        size_wh=_said(size, size_from_text),
        labels=_said(labels, labels_from_file),
        anchors_wh=_said(anchors, anchors_from_text),
        colour=_said(colour, colour_from_text),
        mean=_said(mean, lambda text: three_from_text(text, "--mean")),
        std=_said(std, std_from_text),
        fit=fit,
    )


def size_from_text(text: str) -> tuple[int, int]:
    parts = text.lower().split("x")
    if len(parts) != 2 or not all(part.isdecimal() and len(part) <= LONGEST_SIDE for part in parts):
        raise ModelRefused(f"--size {text} is not a size; write width x height, as 640x480.")
    return int(parts[0]), int(parts[1])


def labels_from_file(path: Path) -> tuple[str, ...]:
    text = _text_of(path)
    labels = labels_from_text(text) or tuple(label for line in text.splitlines() if (label := printable(line)))
    if not labels:
        raise ModelRefused(f"--labels {path} names no class; write one class name a line.")
    twice = next((label for label, count in Counter(labels).items() if count > 1), None)
    if twice is not None:
        raise ModelRefused(f"--labels {path} names the class {twice!r} more than once; give each a name of its own.")
    return labels


def _text_of(path: Path) -> str:
    """A pipe would be waited for without end."""
    unread = f"--labels {path} cannot be read as text; give a file with one class name a line."
    try:
        if not path.is_file() or path.stat().st_size > LONGEST_NAMES:
            raise ModelRefused(unread)
        return path.read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        raise ModelRefused(unread) from error


def anchors_from_text(text: str) -> Anchors:
    """Three to a head."""
    pairs = [_numbers(pair, 2, "--anchors") for pair in text.split()]
    if not pairs or len(pairs) % 3:
        raise ModelRefused(f"--anchors has {len(pairs)} pairs; write three w,h pairs for each head, finest head first.")
    if min(map(min, pairs)) <= 0:
        raise ModelRefused(f"--anchors {text} has a side of 0 or less; write widths and heights in pixels.")
    sizes = [(pair[0], pair[1]) for pair in pairs]
    return tuple(tuple(sizes[start : start + 3]) for start in range(0, len(sizes), 3))


def colour_from_text(text: str) -> str:
    if text not in ("rgb", "bgr"):
        raise ModelRefused(f"--colour {text} is unknown; write rgb or bgr.")
    return text


def three_from_text(text: str, option: str) -> tuple[float, float, float]:
    red, green, blue = _numbers(text, 3, option)
    return red, green, blue


def std_from_text(text: str) -> tuple[float, float, float]:
    std = three_from_text(text, "--std")
    if min(std) <= 0:
        raise ModelRefused(f"--std {text} has a number of 0 or less, by which nothing is divided; write greater ones.")
    return std


def _numbers(text: str, count: int, option: str) -> list[float]:
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError:
        numbers = []
    if len(numbers) != count or not all(map(math.isfinite, numbers)):
        raise ModelRefused(f"{option} {text} is not {count} numbers; write them with commas between, no spaces.")
    return numbers


def _said(text: Said | None, read: Callable[[Said], Value]) -> Value | None:
    return None if text is None else read(text)
