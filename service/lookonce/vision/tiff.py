"""TIFF's directory of tags: a TIFF picture's own header, and what EXIF is made of in every other format."""

import struct
from collections.abc import Mapping
from dataclasses import dataclass

from lookonce.errors import InvalidImage, UnsupportedMedia
from lookonce.vision.reading import MOST_PARTS, Data, fields

WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC, ORIENTATION, CHANNELS = 256, 257, 258, 259, 262, 274, 277
ROWS_PER_STRIP, TILE_WIDTH, TILE_HEIGHT, EXTRA_SAMPLES, SAMPLE_FORMAT = 278, 322, 323, 338, 339
ASSOCIATED, UNASSOCIATED = 1, 2
UNSIGNED = 1
SHORT, LONG = 3, 4
INTEGERS = {1: "B", SHORT: "H", LONG: "I"}
MOST_VALUES = 4

# Photometric interpretation, bits, channels: what the decoder gives right colours for.
TAKEN = frozenset(
    [(grey, bits, 1) for grey in (0, 1) for bits in (1, 8, 16)]
    + [(2, bits, channels) for bits in (8, 16) for channels in (3, 4)]
    + [(3, bits, 1) for bits in (1, 4, 8)]
    + [(5, 8, 4), (6, 8, 3)]
)
# None, three of CCITT, LZW, JPEG, deflate and its old number, PackBits.
COMPRESSIONS = frozenset({1, 2, 3, 4, 5, 7, 8, 32946, 32773})
LARGEST_TILE_PX = 1 << 20
EXIF = b"Exif\0\0"


@dataclass(frozen=True, slots=True)
class Directory:
    """The integer tags of a file's first directory; `places` is where each entry stands, `next_at` the link onward."""

    order: str
    values: Mapping[int, tuple[int, ...]]
    places: tuple[tuple[int, int], ...]
    next_at: int

    def first(self, tag: int, default: int) -> int:
        values = self.values.get(tag, (default,))
        if not values:
            raise InvalidImage("the picture's TIFF directory is damaged or cut short; send the whole file.")
        return values[0]


@dataclass(frozen=True, slots=True)
class Tiff:
    """What must be known of a TIFF picture before its pixels are read; `width` and `height` as stored."""

    width: int
    height: int
    orientation: int
    bits: int
    channels: int
    transparency: int

    @property
    def transparent(self) -> bool:
        return self.transparency in {ASSOCIATED, UNASSOCIATED}

    @property
    def premultiplied(self) -> bool:
        """Whether the decoder's colours are already weighted by alpha: it does so itself for 8 bits."""
        return self.transparency == ASSOCIATED or self.bits == 8


def read_tiff(data: Data) -> Tiff:
    tags = read_directory(data)
    width, height = tags.first(WIDTH, 0), tags.first(HEIGHT, 0)
    photometric, bits, channels = tags.first(PHOTOMETRIC, -1), tags.first(BITS, 1), tags.first(CHANNELS, 1)
    sample_format, compression = tags.first(SAMPLE_FORMAT, UNSIGNED), tags.first(COMPRESSION, 1)
    taken = (photometric, bits, channels) in TAKEN and sample_format == UNSIGNED and compression in COMPRESSIONS
    if not taken:
        raise UnsupportedMedia(
            f"this kind of TIFF is not taken: photometric interpretation {photometric}, {bits} bits, "
            f"{channels} channels, sample format {sample_format}, compression {compression}; save it as 8-bit RGB."
        )
    if tags.first(TILE_WIDTH, 0) * tags.first(TILE_HEIGHT, 0) > max(LARGEST_TILE_PX, width * height):
        raise InvalidImage("the TIFF's tiles are larger than its picture; save it again.")
    return Tiff(width, height, orientation_in(tags), bits, channels, tags.first(EXTRA_SAMPLES, 0))


def first_page_as_stored(data: Data) -> bytearray:
    """A copy that holds one page, says nothing of orientation and promises no more rows than it has."""
    tags = read_directory(data)
    rows = min(tags.first(ROWS_PER_STRIP, 0xFFFFFFFF), tags.first(HEIGHT, 0))
    entries = {ORIENTATION: 1, ROWS_PER_STRIP: rows}
    fields(tags.order + "I", data, tags.next_at)
    page = bytearray(data)
    struct.pack_into(tags.order + "I", page, tags.next_at, 0)
    for tag, place in tags.places:
        if tag in entries:
            struct.pack_into(tags.order + "HHII", page, place, tag, LONG, 1, entries[tag])
    return page


def exif_orientation(block: Data) -> int:
    """1 to 8; 1 where the block is broken or says nothing, for nobody sends a picture for its EXIF."""
    try:
        return orientation_in(read_directory(block[len(EXIF) :] if bytes(block[: len(EXIF)]) == EXIF else block))
    except InvalidImage:
        return 1


def orientation_in(tags: Directory) -> int:
    value = next(iter(tags.values.get(ORIENTATION, ())), 1)
    return value if 1 <= value <= 8 else 1


def read_directory(data: Data) -> Directory:
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(bytes(data[:4]))
    if order is None:
        raise InvalidImage("the picture's TIFF header is damaged; save it again.")
    (start,) = fields(order + "I", data, 4)
    (count,) = fields(order + "H", data, start)
    if count > MOST_PARTS:
        raise InvalidImage("the picture's TIFF directory is damaged; save it again.")
    next_at = start + 2 + 12 * count
    places = tuple((fields(order + "H", data, place)[0], place) for place in range(start + 2, next_at, 12))
    # Of a tag that stands twice, the first is the one that decoders take.
    values = {tag: read_values(order, data, place) for tag, place in reversed(places)}
    return Directory(order, values, places, next_at)


def read_values(order: str, data: Data, place: int) -> tuple[int, ...]:
    """The first integers of the entry at `place`; none where it holds something else or points out of the file."""
    kind, count = fields(order + "HI", data, place + 2)
    layout = f"{order}{min(count, MOST_VALUES)}{INTEGERS.get(kind, 'x')}"
    size = struct.calcsize(order + INTEGERS.get(kind, "x")) * count
    try:
        return fields(layout, data, place + 8 if size <= 4 else fields(order + "I", data, place + 8)[0])
    except InvalidImage:
        return ()
