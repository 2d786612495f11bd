"""Pictures: from a file's bytes to pixels as a person sees them, and back."""

from collections.abc import Callable, Mapping

import cv2
import numpy as np
import simplejpeg

from lookonce.errors import ImageTooLarge, InvalidImage
from lookonce.vision.blending import Pixels, on_white
from lookonce.vision.gif import first_frame
from lookonce.vision.headers import Header, Kind
from lookonce.vision.jpeg import count_scans
from lookonce.vision.letterbox import ImageRGB
from lookonce.vision.png import is_opaque, still, transparent_grey
from lookonce.vision.reading import Data, fields
from lookonce.vision.tiff import first_page_as_stored, read_tiff

OPAQUE = cv2.IMREAD_COLOR_BGR | cv2.IMREAD_IGNORE_ORIENTATION
MOST_SCANS = 100
MOST_SCANNED_PX = 1_000_000_000
SMALLEST_WEBP_BYTES = 32
OLDEST_BMP_WITH_ALPHA = 56
# Some cameras leave it away. With it put back libjpeg still tells whether anything else is missing.
END_OF_JPEG = b"\xff\xd9"
# What libjpeg says of files that many cameras write and that lack nothing.
HARMLESS = "extraneous bytes before marker", "Invalid SOS parameters for sequential"
# What simplejpeg says where it has no name for how the colours are sampled, and so decodes nothing.
UNNAMED_SAMPLING = "subsampling level"
# What it says, before it decodes, of a picture that is larger than the room it is given.
NO_ROOM = "buffer is too small"


def decode(data: Data, header: Header) -> ImageRGB:
    """The picture [H,W,3], C-contiguous, upright, its transparent parts white, or InvalidImage.

    `header` is what `read_header` said of the same bytes: judge its size before you decode. What libpng says of a
    damaged file, and libjpeg of one sampled unusually, goes to standard error: OpenCV offers no way to hush them.
    """
    image = DECODERS[header.kind](data, header)
    if image.shape != (header.height, header.width, 3):
        raise another_size(header.kind)
    return upright(image, header.orientation)


def encode_jpeg(image: ImageRGB, quality: int = 90) -> bytes:
    jpeg: bytes = simplejpeg.encode_jpeg(np.ascontiguousarray(image), quality=quality)
    return jpeg


def encode_png(image: ImageRGB) -> bytes:
    _, png = cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    return bytes(png)


def jpeg_to_rgb(data: Data, header: Header, room: ImageRGB | None = None) -> Pixels:
    """In `room` where there is some, which may be of a smaller size."""
    whole = header.height, header.width, 3
    into = np.empty(whole, np.uint8) if room is None else room
    if header.many_scans or header.has_ink or into.shape != whole:
        refuse_other_size(data, header)
    if header.many_scans:
        refuse_many_scans(data, header)
    return by_libjpeg(data, header, into, strict=True)


def by_libjpeg(data: Data, header: Header, into: ImageRGB, *, strict: bool) -> Pixels:
    """Into room of the judged size and no more; `strict`: as long as libjpeg has nothing to say of it."""
    height, width = (0, 0) if into.shape[:2] == (header.height, header.width) else into.shape[:2]
    try:
        decoded: Pixels = simplejpeg.decode_jpeg(
            data, "RGB", min_height=height, min_width=width, buffer=into.reshape(-1), strict=strict
        )
    except ValueError as error:
        if UNNAMED_SAMPLING in str(error):
            return on_white(by_opencv(data, Kind.JPEG, OPAQUE))
        if strict and any(word in str(error) for word in HARMLESS):
            return by_libjpeg(data, header, into, strict=False)
        if strict and not header.many_scans and bytes(data[-2:]) != END_OF_JPEG:
            return by_libjpeg(bytes(data).removesuffix(END_OF_JPEG[:1]) + END_OF_JPEG, header, into, strict=True)
        raise (another_size if NO_ROOM in str(error) else damaged)(Kind.JPEG) from error
    return decoded


def refuse_other_size(data: Data, header: Header) -> None:
    """Where the decoder makes room by its own reading of the header, that must be ours before it is let loose."""
    try:
        height, width, *_ = simplejpeg.decode_jpeg_header(data, strict=False)
    except KeyError:  # Its colours have no name there: they are no reason to refuse it.
        return
    except ValueError as error:
        if UNNAMED_SAMPLING in str(error):
            return
        raise damaged(Kind.JPEG) from error
    if (width, height) != (header.width, header.height):
        raise another_size(Kind.JPEG)


def refuse_many_scans(data: Data, header: Header) -> None:
    scans = count_scans(data, MOST_SCANS + 1)
    if scans > MOST_SCANS:
        raise InvalidImage(f"the JPEG comes in more than {MOST_SCANS} scans; save it again.")
    if scans * header.width * header.height > MOST_SCANNED_PX:
        raise ImageTooLarge(
            f"the JPEG comes in {scans} scans of {header.width}×{header.height} pixels and at most {MOST_SCANNED_PX} "
            "pixels are scanned in all; save it as a baseline JPEG."
        )


def png_to_rgb(data: Data, header: Header) -> Pixels:
    """Whatever has no alpha is asked for in 8 bits, which takes the decoder less room than 16."""
    opaque, grey = is_opaque(data), transparent_grey(data)
    pixels = by_opencv(still(data), header.kind, OPAQUE if opaque else cv2.IMREAD_UNCHANGED)
    if grey is not None:
        pixels[pixels == grey] = np.iinfo(pixels.dtype).max
    return on_white(pixels)


def webp_to_rgb(data: Data, header: Header) -> Pixels:
    padding = bytes(max(0, SMALLEST_WEBP_BYTES - len(data)))
    return on_white(by_opencv(bytes(data) + padding if padding else data, header.kind, cv2.IMREAD_UNCHANGED))


def bmp_to_rgb(data: Data, header: Header) -> Pixels:
    """Before version 4 of its header, a BMP's fourth byte is padding."""
    with_alpha = fields("<I", data, 14)[0] >= OLDEST_BMP_WITH_ALPHA
    return on_white(by_opencv(data, header.kind, cv2.IMREAD_UNCHANGED if with_alpha else OPAQUE))


def tiff_to_rgb(data: Data, header: Header) -> Pixels:
    facts, page = read_tiff(data), first_page_as_stored(data)
    pixels = by_opencv(page, header.kind, cv2.IMREAD_UNCHANGED if facts.transparent else OPAQUE)
    return on_white(pixels, premultiplied=facts.premultiplied)


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


def another_size(kind: Kind) -> InvalidImage:
    return InvalidImage(f"the {kind} holds another size than its header says; save it again.")


def upright(image: ImageRGB, orientation: int) -> ImageRGB:
    """The picture as EXIF's `orientation` wants it seen; `image` is given away, for its memory may be used again."""
    turn, mirrored = TURNS[orientation]
    turned = image if turn is None else cv2.rotate(image, turn)
    return np.asarray(cv2.flip(turned, 1, turned) if mirrored else turned, np.uint8)


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
