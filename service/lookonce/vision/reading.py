"""Reading a picture's fields out of bytes that a stranger sent."""

import struct
from typing import Any, TypeAlias

from lookonce.errors import InvalidImage

Data: TypeAlias = bytes | bytearray | memoryview

# A real picture has some dozens of parts before its pixels; a walk over millions would hold up the event loop.
MOST_PARTS = 4096


def fields(layout: str, data: Data, place: int) -> tuple[Any, ...]:
    """The values that lie at byte `place`, laid out as `struct` says."""
    try:
        return struct.unpack_from(layout, data, place)
    except struct.error:
        raise InvalidImage("the picture is cut short; send the whole file.") from None
