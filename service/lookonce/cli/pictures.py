"""Pictures with their boxes drawn in."""

from pathlib import Path

import numpy as np

from lookonce.client import Detection, Detections
from lookonce.vision.drawing import annotate
from lookonce.vision.headers import read_header
from lookonce.vision.images import decode, encode_jpeg


def save_annotated(picture: Path, seen: Detections, folder: Path) -> Path:
    """The new file in `folder`, called after the picture."""
    data = picture.read_bytes()
    image = decode(data, read_header(data))
    rows = [[*_corners(each), each.confidence, each.class_id] for each in seen]
    names = {each.class_id: each.label for each in seen}
    labels = [names.get(class_id, "") for class_id in range(max(names, default=-1) + 1)]
    folder.mkdir(parents=True, exist_ok=True)
    saved = folder / f"{picture.stem}.jpg"
    drawn = annotate(image, np.array(rows, np.float32).reshape(-1, 6), labels)
    saved.write_bytes(encode_jpeg(drawn))
    return saved


def _corners(found: Detection) -> tuple[float, float, float, float]:
    return found.box.x1, found.box.y1, found.box.x2, found.box.y2
