"""A Triton that runs on this machine, and the note that lets another command find it."""

import hashlib
import http.client
import json
import os
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from lookonce.errors import LocalTritonFailed
from lookonce.local.ports import LOOPBACK, Ports

ASK_TIMEOUT_S: Final = 2.0
LOAD_TIMEOUT_S: Final = 120.0


@dataclass(frozen=True, slots=True)
class Endpoint:
    """`born` tells this process from a later one that was given the same pid."""

    repository: str
    pid: int
    born: str
    ports: Ports
    log: str

    @property
    def grpc_url(self) -> str:
        return f"{LOOPBACK}:{self.ports.grpc}"

    @property
    def http_url(self) -> str:
        return f"http://{LOOPBACK}:{self.ports.http}"

    @property
    def is_alive(self) -> bool:
        return self.born != "" and birth(self.pid) == self.born


def birth(pid: int) -> str:
    """When the process started, in the kernel's own ticks; empty when it is gone."""
    try:
        state, *facts = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if state == "Z" else facts[18]


def notes_folder() -> Path:
    """Where the commands of this user leave word for each other, whatever folder they are called from."""
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    if Path(runtime).is_absolute() and os.access(runtime, os.W_OK | os.X_OK):
        return Path(runtime, "lookonce")
    cache = os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser()
    return Path(cache, "lookonce", "running")


def note(endpoint: Endpoint, notes: Path) -> Path:
    """Leave word where this Triton is, beside those of others that serve the same repository."""
    path = _path(endpoint, notes)
    draft = path.with_suffix(".draft")
    try:
        notes.mkdir(mode=0o700, parents=True, exist_ok=True)
        draft.write_text(json.dumps(asdict(endpoint), indent=2))
        return draft.replace(path)
    except OSError as error:
        raise LocalTritonFailed(
            f"{notes} cannot be written ({error.strerror}), so no other command would find the local Triton; "
            "name another folder with XDG_RUNTIME_DIR."
        ) from error


def forget(endpoint: Endpoint, notes: Path) -> None:
    """Take the note away, unless another Triton has left its own there since."""
    path = _path(endpoint, notes)
    if _noted(path) == endpoint:
        path.unlink(missing_ok=True)


def running(repository: Path, notes: Path | None = None) -> tuple[Endpoint, ...]:
    """The local Tritons that serve this repository folder. The notes of dead ones are swept away on the way."""
    folder = str(repository.resolve())
    return tuple(endpoint for endpoint in _living(notes or notes_folder()) if endpoint.repository == folder)


def reload_model(endpoint: Endpoint, name: str) -> None:
    """Have Triton read the model's config and versions anew. What was served stays served when that fails."""
    status, answer = _ask(endpoint, "POST", f"/v2/repository/models/{name}/load", LOAD_TIMEOUT_S)
    if status == 200:
        return
    with suppress(ValueError, KeyError, TypeError):
        answer = json.loads(answer)["error"]
    why = " ".join(answer.partition("\n\nAt:")[0].split())
    raise LocalTritonFailed(f"the local Triton did not load {name}: {why}. Its log is {endpoint.log}.")


def is_ready(endpoint: Endpoint, path: str = "/v2/health/ready") -> bool:
    try:
        return _ask(endpoint, "GET", path, ASK_TIMEOUT_S)[0] == 200
    except LocalTritonFailed:
        return False


def _ask(endpoint: Endpoint, method: str, path: str, timeout_s: float) -> tuple[int, str]:
    with closing(http.client.HTTPConnection(LOOPBACK, endpoint.ports.http, timeout=timeout_s)) as connection:
        try:
            connection.request(method, path, headers={"Content-Length": "0"})
            answer = connection.getresponse()
            return answer.status, answer.read().decode(errors="replace")
        except (OSError, http.client.HTTPException) as error:
            raise LocalTritonFailed(f"the local Triton at {endpoint.http_url} does not answer: {error}.") from error


def _living(notes: Path) -> Iterator[Endpoint]:
    for path in sorted(notes.glob("triton-*.json")):
        endpoint = _noted(path)
        if endpoint is not None and endpoint.is_alive:
            yield endpoint
            continue
        with suppress(OSError):
            path.unlink()


def _noted(path: Path) -> Endpoint | None:
    try:
        facts = json.loads(path.read_text())
        return Endpoint(**facts | {"ports": Ports(**facts["ports"])})
    except (OSError, ValueError, TypeError, KeyError):
        return None


def _path(endpoint: Endpoint, notes: Path) -> Path:
    key = hashlib.sha256(endpoint.repository.encode()).hexdigest()[:12]
    return notes / f"triton-{key}-{endpoint.pid}.json"
