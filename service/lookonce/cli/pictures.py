"""Pictures with their boxes drawn in."""

import os
from collections.abc import Sequence
from itertools import chain, count
from pathlib import Path

import numpy as np

from lookonce.client import Detection, Detections
from lookonce.errors import DetectionFailed
from lookonce.vision.drawing import annotate
from lookonce.vision.headers import read_header
from lookonce.vision.images import decode, encode_jpeg


def folder_for(drawn: Path) -> Path:
    """The folder, made where it is not there yet."""
    try:
        drawn.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DetectionFailed(
            f"the folder {drawn} cannot be made ({error.strerror}); name another one with --save."
        ) from error
    return drawn


def places_for(pictures: Sequence[Path], folder: Path) -> list[Path]:
    """A file in `folder` for each picture, called after it: never one of them, and no two the same."""
    taken, places = set(map(_identity, pictures)), list[Path]()
    for picture in pictures:
        endings = chain([""], (f"-{number}" for number in count(2)))
        names = (folder / f"{picture.stem}.detected{ending}.jpg" for ending in endings)
        places.append(next(name for name in names if _identity(name) not in taken))
        taken.add(_identity(places[-1]))
    return places


def save_annotated(data: bytes, seen: Detections, place: Path) -> None:
    """`data` is the picture as its file holds it."""
    image = decode(data, read_header(data))
    rows = [[*_corners(each), each.confidence, each.class_id] for each in seen]
    drawn = annotate(image, np.array(rows, np.float32).reshape(-1, 6), {each.class_id: each.label for each in seen})
    try:
        place.write_bytes(encode_jpeg(drawn))
    except OSError as error:
        raise DetectionFailed(f"{place} cannot be written ({error.strerror}); name another --save.") from error
    except ValueError as error:
        raise DetectionFailed(f"{place} cannot be a JPEG ({error}); ask for it without --save.") from error


def _identity(path: Path) -> str:
    """The file behind all links; some file systems know no capitals."""
    return os.path.realpath(path).casefold()


def _corners(found: Detection) -> tuple[float, float, float, float]:
    return found.box.x1, found.box.y1, found.box.x2, found.box.y2
