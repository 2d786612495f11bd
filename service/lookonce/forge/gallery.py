"""Pictures to calibrate and to verify on: a folder's, or drawn ones."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias, overload

import cv2
import numpy as np

from lookonce.errors import ModelRefused
from lookonce.forge.pictures import draw_picture
from lookonce.forge.progress import Report, unheard
from lookonce.vision.letterbox import Geometry, ImageRGB, letterbox

SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".webp"})
DRAWN_SIZES_WH = (640, 640), (1280, 720), (480, 640), (500, 333), (960, 320), (427, 640), (800, 800), (360, 720)
DRAWN_SEED = 20_000_000

Source: TypeAlias = Path | int
"""A file, or the number of a drawn picture."""


@dataclass(frozen=True)
class Gallery(Sequence[ImageRGB]):
    """Pictures as the model's input wants them, uint8 [H,W,3]; each is made when it is asked for, and none is kept."""

    geometry: Geometry
    sources: tuple[Source, ...]
    unreadable: tuple[str, ...] = ()
    left_out: int = 0

    def __len__(self) -> int:
        return len(self.sources)

    @overload
    def __getitem__(self, place: int) -> ImageRGB: ...
    @overload
    def __getitem__(self, place: slice) -> "Gallery": ...
    def __getitem__(self, place: int | slice) -> "ImageRGB | Gallery":
        if isinstance(place, slice):
            return Gallery(self.geometry, self.sources[place], self.unreadable, self.left_out)
        return letterbox(_picture(self.sources[place]), self.geometry)[0]

    def __iter__(self) -> Iterator[ImageRGB]:
        return (self[place] for place in range(len(self)))

    def name(self, place: int) -> str:
        source = self.sources[place]
        return source.name if isinstance(source, Path) else f"drawn picture {source}"

    @property
    def remarks(self) -> tuple[str, ...]:
        """What a person should know of how the folder was read."""
        unread = f"{len(self.unreadable)} could not be read: {_listed(self.unreadable)}." if self.unreadable else ""
        beyond = f"{self.left_out} more were left out." if self.left_out else ""
        return tuple(filter(None, (unread, beyond)))


def drawn(geometry: Geometry, count: int) -> Gallery:
    """Our own pictures, of several aspect ratios; the same ones every time."""
    return Gallery(geometry, tuple(range(count)))


def in_folder(folder: Path, geometry: Geometry, limit: int, report: Report = unheard) -> Gallery:
    """The folder's pictures in the order of their names, at most `limit` of them."""
    if not folder.is_dir():
        raise ModelRefused(f"{folder} is no folder; give a folder that holds pictures ({_kinds()}).")
    files = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES and path.is_file())
    readable, unreadable = list[Path](), list[str]()
    for seen, path in enumerate(files):
        if len(readable) == limit:
            break
        report(f"reading {folder.name}", seen, min(limit, len(files)))
        if read(path) is None:
            unreadable.append(path.name)
        else:
            readable.append(path)
    left_out = len(files) - len(readable) - len(unreadable)
    report(f"reading {folder.name}", len(readable), len(readable))
    return Gallery(geometry, tuple(readable), tuple(unreadable), left_out)


def read(path: Path) -> ImageRGB | None:
    """The picture, upright and RGB, or None where it cannot be decoded."""
    try:
        content = np.fromfile(path, np.uint8)
        decoded = cv2.imdecode(content, cv2.IMREAD_COLOR_RGB) if content.size else None
    except (OSError, cv2.error):
        return None
    return None if decoded is None else decoded.astype(np.uint8, copy=False)


def _picture(source: Source) -> ImageRGB:
    if isinstance(source, int):
        return draw_picture(DRAWN_SEED + source, DRAWN_SIZES_WH[source % len(DRAWN_SIZES_WH)]).image_rgb
    picture = read(source)
    if picture is None:
        raise ModelRefused(f"{source} can no longer be read; leave the folder alone while it is in use.")
    return picture


def _listed(names: Sequence[str], most: int = 5) -> str:
    shown = ", ".join(names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"


def _kinds() -> str:
    return ", ".join(sorted(suffix.removeprefix(".") for suffix in SUFFIXES))
