"""The answer as a picture: the one that was sent, with its detections drawn onto it."""

from collections.abc import Sequence
from typing import Final

from lookonce.pipeline.request import Picture, Seen
from lookonce.transports.presets import FORMATS
from lookonce.vision.drawing import annotate
from lookonce.vision.headers import read_header
from lookonce.vision.images import decode, encode_jpeg, encode_png

IMAGE: Final = "image"
STYLES: Final = (*FORMATS, IMAGE)
"""What `format` may say."""
JPEG, PNG = "image/jpeg", "image/png"
LONGEST_JPEG_SIDE_PX: Final = 65_500


def drawn(picture: Picture, seen: Seen, labels: Sequence[str], accepted: str = JPEG) -> tuple[bytes, str]:
    """A file and its media type: JPEG, unless `accepted` (an Accept header) knows PNG alone or a side is too long.

    The picture is decoded once more: that is cheaper than keeping the pixels of all that are in flight.
    """
    image = annotate(decode(picture, read_header(picture)), seen.rows_px, labels)
    only_png = PNG in accepted.lower() and JPEG not in accepted.lower()
    if only_png or max(seen.size_wh) > LONGEST_JPEG_SIDE_PX:
        return encode_png(image), PNG
    return encode_jpeg(image), JPEG
