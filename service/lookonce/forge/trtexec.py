"""TensorRT's command line builder: which version it is, what it must be told, and what it says when it fails."""

import re
import shutil
import signal
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from lookonce.card import INPUT
from lookonce.errors import EngineFailed
from lookonce.forge import child

OLDEST_MAJOR = 10
TYPING_FLAGS: Mapping[int, tuple[str, ...]] = {10: ("--stronglyTyped",)}
"""Version 11 knows no other typing and asks for no flag."""
MILESTONES = (
    "Start parsing network model",
    "Finished parsing network model",
    "iming cache in use",
    "Engine generation completed",
    "Created engine with size",
)
OUTPUTS = "outputs.json"
SAID_NOTHING = "it gave no reason"

_BANNER = re.compile(r"\[TensorRT v(\d+)\](?: \[b(\d+)\])?")
_FLAG = re.compile(r"^\s+(--\w+)", re.MULTILINE)
_ERROR = re.compile(r"\[[EF]\]\s*(?:\[TRT\]\s*)?(.*\S)")
_ENGINE_SIZE = re.compile(r"Created engine with size: ([\d.e+]+) MiB")
_LOG_MARKS = "[", "&&&&", "===", "  "
_AFTERMATH = re.compile(
    r"Engine set up failed|Failed to create engine|[Bb]uilding engine failed|Engine could not be created"
    r"|Inference set up failed|Error occurred during inference|Network And Config setup failed"
)


@dataclass(frozen=True, slots=True)
class Trtexec:
    """The program and what it is; `flags` is empty where it could not be asked."""

    path: str
    version: str
    flags: frozenset[str] = frozenset()

    @property
    def major(self) -> int:
        return int(self.version.partition(".")[0])

    def knows(self, option: str) -> bool:
        return not self.flags or option.partition("=")[0] in self.flags


@dataclass(frozen=True, slots=True)
class Profile:
    """Batch sizes the plan is made for: the least, the best and the most, at one picture size."""

    best_batch: int
    max_batch: int
    size_wh: tuple[int, int]
    min_batch: int = 1

    def shape(self, batch: int) -> str:
        width, height = self.size_wh
        return f"{INPUT}:{batch}x{height}x{width}x3"

    def options(self) -> tuple[str, ...]:
        """None for a graph whose batch is fixed at 1: trtexec takes shapes for free sides only."""
        if self.max_batch == 1:
            return ()
        sizes = {"min": self.min_batch, "opt": self.best_batch, "max": self.max_batch}
        return tuple(f"--{name}Shapes={self.shape(batch)}" for name, batch in sizes.items())


@dataclass(frozen=True, slots=True)
class Build:
    onnx: Path
    plan: Path
    profile: Profile
    timing_cache: Path
    workspace_mib: int | None = None


def find_trtexec(path: str) -> str:
    found = shutil.which(path)
    if found is None:
        raise EngineFailed(
            f"{path} is not here; it comes with TensorRT (in NVIDIA's tensorrt container it is on PATH). "
            "Name it with `--trtexec`, or print the command with `--dry-run`."
        )
    return str(Path(found).absolute())


def ask_trtexec(path: str, log: Path) -> Trtexec:
    """Which TensorRT it is and which options it knows, from its own help."""
    code = child.run(child.Errand((path, "--help"), log, timeout_s=60.0), lambda _line: None)
    text = log.read_text("utf-8", "replace")
    banner = _BANNER.search(text)
    if code or banner is None:
        how = f"it {ending(code)}: {failure(text.splitlines())}"
        raise EngineFailed(f"{path} does not answer `--help` as trtexec does, {how}; its log is {log}.")
    return supported(Trtexec(path, _version(*banner.groups()), frozenset(_FLAG.findall(text))))


def supported(trtexec: Trtexec) -> Trtexec:
    if trtexec.major < OLDEST_MAJOR:
        raise EngineFailed(f"TensorRT {trtexec.version} is too old; use TensorRT {OLDEST_MAJOR} or later.")
    return trtexec


def _version(number: str, build: str | None) -> str:
    base = 100 if len(number) > 4 else 10
    release, patch = divmod(int(number), 100)
    major, minor = divmod(release, base)
    return ".".join(map(str, (major, minor, patch, *([build] if build else []))))


def build_command(trtexec: Trtexec, build: Build) -> list[str]:
    """Precision is in the graph, so no precision flag is ever given: TensorRT 11 has none."""
    needed = [
        f"--onnx={build.onnx}",
        f"--saveEngine={build.plan}",
        *TYPING_FLAGS.get(trtexec.major, ()),
        *build.profile.options(),
        *([f"--memPoolSize=workspace:{build.workspace_mib}"] if build.workspace_mib else []),
    ]
    missing = [option.partition("=")[0] for option in needed if not trtexec.knows(option)]
    if missing:
        raise EngineFailed(f"{trtexec.path} (TensorRT {trtexec.version}) does not know {', '.join(missing)}.")
    welcome = f"--timingCacheFile={build.timing_cache}", "--skipInference"
    return [trtexec.path, *needed, *filter(trtexec.knows, welcome)]


def inference_command(trtexec: Trtexec, plan: Path, profile: Profile, batch: int) -> list[str]:
    """Relative names, for trtexec splits `--loadInputs` at colons and commas."""
    return [
        trtexec.path,
        f"--loadEngine={plan}",
        *([f"--shapes={profile.shape(batch)}"] if profile.max_batch > 1 else []),
        f"--loadInputs={INPUT}:{INPUT}.bin",
        f"--exportOutput={OUTPUTS}",
        "--iterations=1",
        "--warmUp=0",
        "--duration=0",
    ]


def run_trtexec(errand: child.Errand, failing: str, heard: Callable[[str], None]) -> None:
    code = child.run(errand, heard)
    if code:
        reason = failure(errand.log.read_text("utf-8", "replace").splitlines())
        raise EngineFailed(f"trtexec {failing}, it {ending(code)}: {reason}; its log is {errand.log}.")


def ending(code: int) -> str:
    if code >= 0:
        return f"ended with exit code {code}"
    name = signal.Signals(-code).name
    hint = ", as the system does when memory runs out" if name == "SIGKILL" else ""
    return f"was killed by {name}{hint}"


def announced_bytes(log: str) -> float | None:
    """How large trtexec says the plan is, to six digits; None where it does not say."""
    found = _ENGINE_SIZE.search(log)
    return float(found[1]) * 2**20 if found else None


def failure(lines: Iterable[str]) -> str:
    """The last error that names a cause, before those that merely follow from it and what is said outside the log."""
    said = [line for line in lines if line.strip()]
    errors = [found[1] for line in said if (found := _ERROR.search(line))]
    causes = [error for error in errors if not _AFTERMATH.search(error)]
    outside = [line.strip() for line in said if not line.startswith(_LOG_MARKS)]
    last = (causes or errors or outside or [SAID_NOTHING])[-1]
    return last.rstrip(".")
