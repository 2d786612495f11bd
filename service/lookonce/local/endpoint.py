"""A Triton that runs on this machine, and the note that lets another command find it."""

import hashlib
import http.client
import json
from contextlib import closing, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from lookonce.errors import LocalTritonFailed
from lookonce.local.ports import LOOPBACK, Ports

NOTES: Final = Path(".lookonce")
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


def note(endpoint: Endpoint, notes: Path = NOTES) -> Path:
    """Leave word where this Triton is."""
    path = _path(Path(endpoint.repository), notes)
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(".draft")
    draft.write_text(json.dumps(asdict(endpoint), indent=2))
    return draft.replace(path)


def forget(endpoint: Endpoint, notes: Path = NOTES) -> None:
    """Take the note away, unless another Triton has left its own there since."""
    repository = Path(endpoint.repository)
    if _noted(repository, notes) == endpoint:
        _path(repository, notes).unlink()


def running(repository: Path, notes: Path = NOTES) -> Endpoint | None:
    """The local Triton that serves this repository folder, if one is alive."""
    endpoint = _noted(repository, notes)
    return endpoint if endpoint is not None and endpoint.is_alive else None


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


def _noted(repository: Path, notes: Path) -> Endpoint | None:
    try:
        facts = json.loads(_path(repository, notes).read_text())
        return Endpoint(**facts | {"ports": Ports(**facts["ports"])})
    except (OSError, ValueError, TypeError, KeyError):
        return None


def _path(repository: Path, notes: Path) -> Path:
    key = hashlib.sha256(str(repository.resolve()).encode()).hexdigest()[:12]
    return notes / f"triton-{key}.json"
