"""Pictures: from a file's bytes to pixels as a person sees them, and back."""

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import cv2
import numpy as np
import simplejpeg
from numpy.typing import NDArray

from lookonce.errors import InvalidImage
from lookonce.vision.gif import first_frame
from lookonce.vision.headers import Header, Kind
from lookonce.vision.letterbox import ImageRGB
from lookonce.vision.png import still, transparent_grey
from lookonce.vision.reading import Data, fields
from lookonce.vision.tiff import first_page_as_stored, read_tiff

Pixels: TypeAlias = NDArray[Any]
AS_STORED_RGB = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION
MOST_SCANS = 100
SMALLEST_WEBP_BYTES = 32
OLDEST_BMP_WITH_ALPHA = 56
# What libjpeg says of files that many cameras write and that lack nothing.
HARMLESS = "extraneous bytes before marker", "Invalid SOS parameters for sequential", "subsampling level"


def decode(data: Data, header: Header) -> ImageRGB:
    """The picture [H,W,3], C-contiguous, upright, its transparent parts white, or InvalidImage.

    `header` is what `read_header` said of the same bytes: judge its size before you decode.
    """
    image = DECODERS[header.kind](data, header)
    if image.shape != (header.height, header.width, 3):
        raise InvalidImage(f"the {header.kind} holds another size than its header says; save it again.")
    return upright(image, header.orientation)


def encode_jpeg(image: ImageRGB, quality: int = 90) -> bytes:
    jpeg: bytes = simplejpeg.encode_jpeg(np.ascontiguousarray(image), quality=quality)
    return jpeg


def encode_png(image: ImageRGB) -> bytes:
    _, png = cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    return bytes(png)


def jpeg_to_rgb(data: Data, header: Header) -> Pixels:
    if header.many_scans and bytes(data).count(b"\xff\xda") > MOST_SCANS:
        raise InvalidImage(f"the JPEG comes in more than {MOST_SCANS} scans; save it again.")
    try:
        exact: Pixels = simplejpeg.decode_jpeg(data, "RGB", fastdct=False, fastupsample=False, strict=True)
    except ValueError as error:
        if not any(word in str(error) for word in HARMLESS):
            raise damaged(Kind.JPEG) from error
        return by_opencv(data, Kind.JPEG, AS_STORED_RGB)
    return exact


def png_to_rgb(data: Data, header: Header) -> Pixels:
    pixels = by_opencv(still(data), header.kind, cv2.IMREAD_UNCHANGED)
    grey = transparent_grey(data)
    if grey is not None:
        pixels[pixels == grey] = np.iinfo(pixels.dtype).max
    return on_white(pixels)


def webp_to_rgb(data: Data, header: Header) -> Pixels:
    padding = bytes(max(0, SMALLEST_WEBP_BYTES - len(data)))
    return on_white(by_opencv(bytes(data) + padding if padding else data, header.kind, cv2.IMREAD_UNCHANGED))


def bmp_to_rgb(data: Data, header: Header) -> Pixels:
    """Before version 4 of its header, a BMP's fourth byte is padding."""
    if fields("<I", data, 14)[0] < OLDEST_BMP_WITH_ALPHA:
        return by_opencv(data, header.kind, AS_STORED_RGB)
    return on_white(by_opencv(data, header.kind, cv2.IMREAD_UNCHANGED))


def tiff_to_rgb(data: Data, header: Header) -> Pixels:
    facts, page = read_tiff(data), first_page_as_stored(data)
    if not facts.transparent:
        return by_opencv(page, header.kind, AS_STORED_RGB)
    return on_white(by_opencv(page, header.kind, cv2.IMREAD_UNCHANGED), premultiplied=facts.premultiplied)


def gif_to_rgb(data: Data, _header: Header) -> Pixels:
    return first_frame(data)


def by_opencv(data: Data, kind: Kind, flags: int) -> Pixels:
    """As stored, for OpenCV would turn some formats and not others; BGR(A) or grey with IMREAD_UNCHANGED."""
    try:
        pixels: Pixels | None = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error as error:
        raise damaged(kind) from error
    if pixels is None:
        raise damaged(kind)
    return pixels


def damaged(kind: Kind) -> InvalidImage:
    return InvalidImage(f"the {kind} is damaged or cut short; send the whole file, or save it again.")


def on_white(pixels: Pixels, *, premultiplied: bool = False) -> Pixels:
    """Grey, BGR or BGRA of 8 or 16 bits as RGB of 8. White is what a browser's page shows behind a picture."""
    if pixels.dtype == np.uint16:
        pixels = (pixels >> 8).astype(np.uint8)
    if pixels.ndim == 2:
        return cv2.cvtColor(pixels, cv2.COLOR_GRAY2RGB)
    if pixels.shape[2] == 3:
        return cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)
    colour = cv2.cvtColor(pixels, cv2.COLOR_BGRA2RGB)
    alpha = cv2.cvtColor(cv2.extractChannel(pixels, 3), cv2.COLOR_GRAY2RGB)
    weighted = colour if premultiplied else cv2.multiply(colour, alpha, scale=1 / 255)
    return cv2.add(weighted, cv2.bitwise_not(alpha))


def upright(image: ImageRGB, orientation: int) -> ImageRGB:
    """A new picture, as EXIF's `orientation` wants it seen; the same one where that is 1."""
    turn, mirrored = TURNS[orientation]
    turned = image if turn is None else cv2.rotate(image, turn)
    return np.asarray(cv2.flip(turned, 1) if mirrored else turned, np.uint8)


# Which way to turn, and whether to mirror left and right after it.
TURNS: Mapping[int, tuple[int | None, bool]] = {
    1: (None, False),
    2: (None, True),
    3: (cv2.ROTATE_180, False),
    4: (cv2.ROTATE_180, True),
    5: (cv2.ROTATE_90_CLOCKWISE, True),
    6: (cv2.ROTATE_90_CLOCKWISE, False),
    7: (cv2.ROTATE_90_COUNTERCLOCKWISE, True),
    8: (cv2.ROTATE_90_COUNTERCLOCKWISE, False),
}
DECODERS: Mapping[Kind, Callable[[Data, Header], Pixels]] = {
    Kind.JPEG: jpeg_to_rgb,
    Kind.PNG: png_to_rgb,
    Kind.WEBP: webp_to_rgb,
    Kind.BMP: bmp_to_rgb,
    Kind.TIFF: tiff_to_rgb,
    Kind.GIF: gif_to_rgb,
}
