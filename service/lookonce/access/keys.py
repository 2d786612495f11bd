"""Keys, and the file that says whose they are. It holds hashes: nobody can ask with what is written there."""

import fcntl
import os
import secrets
import stat
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import chain
from pathlib import Path
from typing import Annotated, ClassVar, Final

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from lookonce.access.rates import Allowance
from lookonce.errors import SettingsRefused

PREFIX: Final = "lo_"
LIVE: Final = 2
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")]
Hash = Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")]
Count = Annotated[int, Field(ge=1)]


@dataclass(frozen=True, slots=True)
class Client:
    """Somebody with a name, the hashes of its keys, the oldest first, and what it may have; None is all of it."""

    __pydantic_config__: ClassVar = ConfigDict(extra="forbid", ser_json_inf_nan="constants")

    name: Name
    keys: Annotated[tuple[Hash, ...], Field(min_length=1, max_length=LIVE)] = field(repr=False)
    images_per_s: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    burst: Count | None = None
    concurrency: Count | None = None
    models: Annotated[tuple[str, ...], Field(min_length=1)] | None = None

    @property
    def allowance(self) -> Allowance:
        return Allowance(self.images_per_s, self.burst, self.concurrency)


@dataclass(frozen=True, slots=True)
class KeyFile:
    __pydantic_config__: ClassVar = ConfigDict(extra="forbid")

    clients: tuple[Client, ...]


_key_files = TypeAdapter(KeyFile)


def new_key() -> str:
    return PREFIX + secrets.token_urlsafe(32)


def hash_of(key: str) -> str:
    """A fast hash is enough: there is nothing to guess in 32 random bytes."""
    return "sha256:" + sha256(key.encode(errors="surrogatepass")).hexdigest()


def content_of(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise SettingsRefused(
            f"the key file {file} cannot be read ({error.strerror}); `lookonce key new` makes one."
        ) from error


def is_readable_by_all(file: Path) -> bool:
    try:
        return bool(file.stat().st_mode & stat.S_IROTH)
    except OSError:
        return False


def clients_from_json(content: str | bytes, file: Path) -> tuple[Client, ...]:
    try:
        clients = _key_files.validate_json(content).clients
    except ValidationError as error:
        problems = error.errors(include_url=False, include_context=False, include_input=False)
        told = "; ".join(_place(problem["loc"]) + problem["msg"] for problem in problems)
        raise SettingsRefused(
            f"the key file {file} cannot be used: {told}; correct it."
        ) from None  # it has the input in it
    _refuse_contradictions(clients, file)
    return clients


def clients_to_json(clients: Sequence[Client]) -> bytes:
    return _key_files.dump_json(KeyFile(tuple(clients)), indent=2, exclude_none=True) + b"\n"


@contextmanager
def changing(file: Path) -> Iterator[list[Client]]:
    """The clients of the file, to be changed inside; on the way out they are written, for nobody else meanwhile."""
    target = file.resolve()
    with _trouble_in_words(file), _alone_in(target.parent):
        clients = list(clients_from_json(target.read_bytes(), file)) if target.exists() else []
        yield clients
        _replace(target, _checked(clients_to_json(clients), file))


def _checked(content: bytes, file: Path) -> bytes:
    try:
        clients_from_json(content, file)
    except SettingsRefused as error:
        raise SettingsRefused(f"nothing was written; with this change {error}") from None
    return content


def _refuse_contradictions(clients: Sequence[Client], file: Path) -> None:
    names, hashes = [client.name for client in clients], list(chain.from_iterable(client.keys for client in clients))
    if len(set(names)) < len(names):
        raise SettingsRefused(f"the key file {file} names a client twice; give each one name.")
    if len(set(hashes)) < len(hashes):
        raise SettingsRefused(f"the key file {file} holds a key twice; give every client keys of its own.")
    for client in clients:
        if client.burst is not None and client.images_per_s is None:
            raise SettingsRefused(
                f"the key file {file} gives {client.name} a burst without images_per_s; give both, or neither."
            )


def _place(location: tuple[int | str, ...]) -> str:
    """`clients[0].keys[1]: `; nothing for the file as a whole."""
    words = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location)
    return words.removeprefix(".") + ": " if words else ""


@contextmanager
def _trouble_in_words(file: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise SettingsRefused(
            f"the key file {file} cannot be written ({error.strerror}); mend its permissions, or choose another --file."
        ) from error


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """The folder is what is locked, for the file itself is replaced."""
    held = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield
    finally:
        os.close(held)


def _replace(target: Path, content: bytes) -> None:
    """All of it or nothing. Whoever could read it before still can; a new one is for its owner's eyes alone."""
    descriptor, draft = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    try:
        with os.fdopen(descriptor, "wb") as stream:
            if target.exists():
                _hand_on(target, descriptor)
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        Path(draft).replace(target)
    finally:
        with suppress(FileNotFoundError):
            Path(draft).unlink()


def _hand_on(before: Path, descriptor: int) -> None:
    """Its owner, group and mode, in this order: a change of owner may take bits off the mode."""
    old = before.stat()
    try:
        os.fchown(descriptor, old.st_uid, old.st_gid)
        os.fchmod(descriptor, stat.S_IMODE(old.st_mode))
    except OSError as error:
        raise SettingsRefused(
            f"nothing was written, for the key file {before} belongs to user {old.st_uid} and group {old.st_gid}, "
            f"to whom the new one could not be given ({error.strerror}); call this as that user."
        ) from error
