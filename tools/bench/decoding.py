"""The floor: `decoding.py FILE SECONDS` decodes it as a gateway does, many times, and prints the mean CPU in ms."""

import sys
import time
from pathlib import Path

import numpy as np
import simplejpeg

WARM_UP = 20


def decode(data: bytes, room: int) -> None:
    """Exact, and into fresh memory, for nobody may keep what the last caller sees."""
    simplejpeg.decode_jpeg(data, "RGB", fastdct=False, fastupsample=False, buffer=np.empty(room, np.uint8))


def main() -> int:
    data, duration_s = Path(sys.argv[1]).read_bytes(), float(sys.argv[2])
    height, width, *_ = simplejpeg.decode_jpeg_header(data)
    room = height * width * 3
    for _ in range(WARM_UP):
        decode(data, room)
    count, cpu, wall = 0, time.process_time(), time.perf_counter()
    while time.perf_counter() - wall < duration_s:
        decode(data, room)
        count += 1
    print(1000 * (time.process_time() - cpu) / count)
    return 0


if __name__ == "__main__":
    sys.exit(main())
