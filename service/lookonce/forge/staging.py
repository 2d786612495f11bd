"""A private place on the repository's own file system, where a version is made before it is renamed into view."""

import errno
import fcntl
import os
import re
import shutil
import signal
import threading
from collections.abc import Container, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from lookonce.errors import RepositoryRefused

NOT_OURS = "{root} may not be written by this user; mend its permissions or choose another --repository."
NOT_A_FOLDER = "{root} is a file or lies under one; choose a folder with --repository."
UNFORESEEN = "the repository {root} does not take this change: {error}."
TROUBLE = {
    errno.ENOSPC: "the disk that holds {root} is full; free some space and try again. The repository is as it was.",
    errno.EDQUOT: "your quota on the disk of {root} is used up; free some space and try again.",
    errno.EROFS: "{root} is read-only; make it writable or choose another folder with --repository.",
    errno.EACCES: NOT_OURS,
    errno.EPERM: NOT_OURS,
    errno.ENOTDIR: NOT_A_FOLDER,
    errno.EEXIST: NOT_A_FOLDER,
    errno.EXDEV: "{root} is mounted apart from its parent folder; choose a folder inside it with --repository.",
}
ATTEMPTS = 100
STOPPING = signal.SIGINT, signal.SIGTERM
NAME_RULE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
DISK_IS_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EROFS}


def check_name(name: str) -> None:
    if not NAME_RULE.fullmatch(name):
        raise RepositoryRefused(
            f"{name!r} cannot name a model: a name is 1 to 64 of the letters a-z and A-Z, digits, _ and -, "
            "and begins with a letter or a digit."
        )


@contextmanager
def staging(root: Path, name: str) -> Iterator[Path]:
    """An empty folder for a version's files, held for `name` alone; it is gone on every way out."""
    with workspace(root, name) as desk:
        files = desk / "files"
        files.mkdir()
        yield files


@contextmanager
def workspace(root: Path, name: str) -> Iterator[Path]:
    """The exclusive right to change `name`, with a folder to prepare the change in."""
    check_name(name)
    with ExitStack() as leaving:
        with trouble_in_words(root), _undisturbed():
            desk = _take_desk(root, name, leaving)
        try:
            with trouble_in_words(root, only=DISK_IS_FULL):
                yield desk
        finally:
            with _undisturbed():
                leaving.close()


@contextmanager
def trouble_in_words(root: Path, only: Container[int | None] | None = None) -> Iterator[None]:
    """What the file system refuses inside is told as what is wrong with the repository."""
    try:
        yield
    except OSError as error:
        if only is not None and error.errno not in only:
            raise
        words = TROUBLE.get(error.errno or 0, UNFORESEEN)
        raise RepositoryRefused(words.format(root=root, error=error)) from error


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Ctrl-C and SIGTERM wait until whatever is taken is also down for giving back, or given back.

    Python runs its handlers in the main thread, whichever thread the kernel chose, so a mask would not hold them off.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    heard = list[int]()
    before = {number: signal.signal(number, lambda said, _frame: heard.append(said)) for number in STOPPING}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if heard:
            signal.raise_signal(heard[0])


def home_of(root: Path) -> Path:
    """Beside the repository, for Triton takes every folder inside for a model, hidden ones too, and will not start.

    Only where a rename could not reach the repository from there does the place lie inside.
    """
    beside = root.with_name(f".{root.name}.staging")
    reachable = not root.exists() or (_device(root) == _device(root.parent) and os.access(root.parent, os.W_OK))
    return beside if reachable else root / ".staging"


def _take_desk(root: Path, name: str, leaving: ExitStack) -> Path:
    _must_be_writable(root)
    root = root.resolve()
    home = home_of(root)
    for folder in (*_missing(root, home.parent), home):
        leaving.callback(_remove_if_empty, folder)
    _take_lock(home, name, leaving)
    _sweep(home)
    desk = home / name
    leaving.callback(shutil.rmtree, desk, ignore_errors=True)
    shutil.rmtree(desk, ignore_errors=True)
    desk.mkdir()
    return desk


def _must_be_writable(root: Path) -> None:
    if root.exists() and not root.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(root))
    if root.exists() and not os.access(root, os.W_OK | os.X_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(root))


def _take_lock(home: Path, name: str, leaving: ExitStack) -> None:
    path = home / f"{name}.lock"
    lock = _first_lock(home, path)
    if lock is None:
        raise RepositoryRefused(
            f"another change of {name} is under way ({_holder(path)}); wait for it or choose another name."
        )
    leaving.callback(_give_back, lock, path)
    os.truncate(lock, 0)
    os.write(lock, f"{os.getpid()}".encode())


def _first_lock(home: Path, path: Path) -> int | None:
    """The lock in a place that others, as they leave, may remove between our making it and our using it."""
    for _ in range(ATTEMPTS):
        home.mkdir(parents=True, exist_ok=True)
        with suppress(FileNotFoundError):
            return _try_lock(path)
    raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))


def _try_lock(path: Path) -> int | None:
    """The lock's descriptor, or None while a living process holds it."""
    while True:
        lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            return None
        if _is_still(path, lock):
            return lock
        os.close(lock)


def _is_still(path: Path, lock: int) -> bool:
    """Whether the path names the very file that was locked: its last holder may just have removed it."""
    try:
        return os.path.samestat(path.stat(), os.fstat(lock))
    except FileNotFoundError:
        return False


def _give_back(lock: int, path: Path) -> None:
    path.unlink(missing_ok=True)
    os.close(lock)


def _holder(path: Path) -> str:
    with suppress(OSError):
        pid = path.read_text()
        return f"process {pid}" if pid else "by another process"
    return "by another process"


def _sweep(home: Path) -> None:
    """Remove what killed processes left; a lock that can be had has no living holder."""
    for path in home.glob("*.lock"):
        lock = _try_lock(path)
        if lock is not None:
            shutil.rmtree(path.with_suffix(""), ignore_errors=True)
            _give_back(lock, path)


def _missing(*folders: Path) -> list[Path]:
    """The folders and their ancestors that do not exist, outermost first."""
    lines = {step for folder in folders for step in (folder, *folder.parents) if not step.exists()}
    return sorted(lines, key=lambda step: len(step.parts))


def _remove_if_empty(folder: Path) -> None:
    with suppress(OSError):
        folder.rmdir()


def _device(folder: Path) -> int:
    return folder.stat().st_dev
