"""Memory for pictures that an inference server on this machine sees too: files in /dev/shm that nobody outlives.

Whoever made a file holds a lock on it, from before it has a name until its end, however that comes. So a file without a
lock is a dead gateway's, whatever machine or container its process id was of.
"""

import errno
import fcntl
import math
import mmap
import os
import re
import secrets
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final, TypeAlias

import numpy as np

from lookonce.card import Card
from lookonce.inference.port import Canvas, Images, fresh_canvas
from lookonce.inference.slots import Slots

SHM: Final = Path("/dev/shm")  # noqa: S108  POSIX shared memory has no other place
OURS: Final = re.compile("lookonce-[0-9a-f]{16}")
FOR_THE_GROUP: Final = 0o660
"""So that a Triton under another user may see the pictures where the group is the same."""

Size: TypeAlias = tuple[int, int]
Told: TypeAlias = Callable[[str, Mapping[str, object]], None]


class NotShared(Exception):
    """Why pictures cannot lie in shared memory, and what to do about it."""


@dataclass(frozen=True, slots=True, eq=False)
class Region:
    """A file of slots, each for a picture of one size: `pixels` is [slots,H,W,3]."""

    file: Path
    pixels: Images
    slots: Slots
    lock: int

    @property
    def name(self) -> str:
        return self.file.name

    def offset_of(self, images: Images) -> int | None:
        """Where the images begin, in bytes; None for those that lie elsewhere, or not in one piece."""
        offset = _address(images) - _address(self.pixels)
        is_inside = 0 <= offset <= self.pixels.nbytes - images.nbytes
        return offset if is_inside and images.flags.c_contiguous else None

    def remove(self) -> None:
        """The memory itself goes when the last array that lies in it does."""
        self.file.unlink(missing_ok=True)
        os.close(self.lock)


class Canvases:
    """Canvases in shared memory, of every size that was `made`; of any other size in this process's own."""

    def __init__(self, slots: int, tell: Told, folder: Path = SHM) -> None:
        self.tell = tell
        self._folder = folder
        self._slots = slots
        self._regions: dict[Size, Region] = {}
        self._making = threading.Lock()
        self._is_closed = False

    def canvas(self, card: Card, images: int) -> Canvas:
        """Nobody waits: where no slots are free side by side, the call is sent whole."""
        region = self.region_of(card)
        first = region.slots.lend(images) if region else None
        if region is None or first is None:
            return fresh_canvas(card, images)
        return Canvas(region.pixels[first : first + images], partial(region.slots.give_back, first, images))

    def made(self, card: Card) -> Region:
        """The region for the card's pictures; it takes a while the first time, so call it on a thread."""
        size = size_of(card)
        with self._making:
            if self._is_closed:
                raise NotShared("the gateway is shutting down.")
            if size not in self._regions:
                self._regions[size] = _region(self._folder, (self._slots, *size, 3))
            return self._regions[size]

    def region_of(self, card: Card) -> Region | None:
        return None if card.raw else self._regions.get(size_of(card))

    @property
    def names(self) -> list[str]:
        return [region.name for region in self._regions.values()]

    def is_dead(self, name: str) -> bool:
        """One of a gateway that was killed and swept up."""
        return OURS.fullmatch(name) is not None and not (self._folder / name).exists()

    def close(self) -> None:
        with self._making:
            self._is_closed = True
            while self._regions:
                self._regions.popitem()[1].remove()


def sweep(folder: Path = SHM) -> None:
    """Remove what gateways left behind that were killed."""
    with suppress(OSError):
        for file in folder.iterdir():
            if OURS.fullmatch(file.name):
                _remove_if_dead(file)


def _remove_if_dead(file: Path) -> None:
    with suppress(OSError):
        handle = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            file.unlink()
        finally:
            os.close(handle)


def _region(folder: Path, shape: tuple[int, int, int, int]) -> Region:
    """A new one, once there is room for it."""
    many_bytes = math.prod(shape)
    try:
        _refuse_without_room(folder, many_bytes)
        handle = os.open(folder, os.O_TMPFILE | os.O_RDWR)
        try:
            return _named(handle, folder, shape)
        except BaseException:
            os.close(handle)
            raise
    except OSError as error:
        raise NotShared(
            f"{many_bytes} bytes for {shape[0]} pictures cannot be had in {folder} ({error.strerror}); give it more "
            "room, lower LOOKONCE_LIMITS__MAX_IN_FLIGHT, or set LOOKONCE_TRITON__TRANSPORT=grpc."
        ) from error


def _refuse_without_room(folder: Path, many_bytes: int) -> None:
    """Before any of it is taken: others live there too."""
    there = os.statvfs(folder)
    if there.f_bavail * there.f_frsize < many_bytes:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _named(handle: int, folder: Path, shape: tuple[int, int, int, int]) -> Region:
    """The room is taken at once: of a file that only claims its size, a full disk would be told by SIGBUS."""
    many_bytes = math.prod(shape)
    fcntl.flock(handle, fcntl.LOCK_EX)
    os.fchmod(handle, FOR_THE_GROUP)
    os.posix_fallocate(handle, 0, many_bytes)
    pixels = np.frombuffer(mmap.mmap(handle, many_bytes), np.uint8).reshape(shape)
    file = folder / f"lookonce-{secrets.token_hex(8)}"
    _link(handle, file)
    return Region(file, pixels, Slots(shape[0]), handle)


def _link(handle: int, file: Path) -> None:
    """Python follows the link, which the kernel wants here, only where it is told of a folder."""
    folder = os.open(file.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.link(f"/proc/self/fd/{handle}", file.name, dst_dir_fd=folder)
    finally:
        os.close(folder)


def size_of(card: Card) -> Size:
    return card.geometry.height, card.geometry.width


def _address(pixels: Images) -> int:
    address: int = pixels.__array_interface__["data"][0]
    return address
