"""The answer as a picture: the one that was sent, with its detections drawn onto it."""

from typing import Final

from lookonce.pipeline.request import Answer
from lookonce.transports.presets import FORMATS
from lookonce.vision.drawing import annotate
from lookonce.vision.images import encode_jpeg, encode_png

IMAGE: Final = "image"
STYLES: Final = (*FORMATS, IMAGE)
"""What `format` may say."""
JPEG, PNG = "image/jpeg", "image/png"
LONGEST_JPEG_SIDE_PX: Final = 65_500


def drawn(answer: Answer, accepted: str) -> tuple[bytes, str]:
    """A file and its media type: JPEG, unless `accepted` (an Accept header) knows PNG alone or a side is too long."""
    seen = answer.only()
    assert seen.image is not None  # noqa: S101
    picture = annotate(seen.image, seen.rows_px, answer.card.labels)
    only_png = PNG in accepted.lower() and JPEG not in accepted.lower()
    if only_png or max(seen.size_wh) > LONGEST_JPEG_SIDE_PX:
        return encode_png(picture), PNG
    return encode_jpeg(picture), JPEG
