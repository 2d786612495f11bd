"""How the C library keeps the memory of large tensors."""

import ctypes
from contextlib import suppress
from typing import Final

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
"""glibc's names for what `mallopt` sets."""

KEPT_BYTES: Final = 2**28
LARGEST_KEPT_BYTES: Final = 2**25
"""The most that glibc takes."""


def keep_freed_memory() -> None:
    """Let the next tensor lie where the last one did: else the kernel zeroes every page of it anew.

    Of C libraries that know no `mallopt` nothing is asked.
    """
    with suppress(AttributeError, OSError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_MMAP_THRESHOLD, LARGEST_KEPT_BYTES)
        mallopt(_TRIM_THRESHOLD, KEPT_BYTES)
