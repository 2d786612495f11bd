"""Run as a program: decodes each file named, in a process of its own, and prints what memory that took at the most."""

import os
import resource
import sys
from pathlib import Path

import cv2

from lookonce.errors import ServiceError
from lookonce.vision.headers import read_header
from lookonce.vision.images import decode

UNIT_BYTES = 1 if sys.platform == "darwin" else 1024


def peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * UNIT_BYTES


def report(path: str) -> None:
    data = Path(path).read_bytes()
    before = peak_bytes()
    try:
        decode(data, read_header(data))
        outcome = "decoded"
    except ServiceError as refusal:
        outcome = str(refusal)
    sys.stdout.write(f"{peak_bytes() - before} {outcome}\n")
    sys.stdout.flush()


cv2.setNumThreads(1)
for each in sys.argv[1:]:
    child = os.fork()
    if not child:
        report(each)
        os._exit(0)
    os.waitpid(child, 0)
