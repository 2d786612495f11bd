"""The local Triton's own virtual environment: its Python stub needs numpy 1, which the gateway must not be held to."""

import fcntl
import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import IO, Final

from lookonce.errors import LocalTritonFailed
from lookonce.forge.progress import Report, unheard

FOLDER: Final = Path(".triton")
NEEDED_GLIBC: Final = (2, 35)
NEWEST_PYTHON: Final = (3, 13)
KEEP_REPOSITORIES_CLEAN: Final = "import sys\n\nsys.dont_write_bytecode = True\n"
DOING: Final = "preparing the local Triton"


@dataclass(frozen=True, slots=True)
class Environment:
    """Where the server, its backends and the Python of its stub lie."""

    server: Path
    backends: Path
    python_folder: Path
    library_folders: tuple[Path, ...]

    def variables(self, base: Mapping[str, str]) -> dict[str, str]:
        """The stub finds its packages through the first `python3` on PATH and nothing else."""
        kept = {key: value for key, value in base.items() if not key.startswith("PYTHON") and key != "VIRTUAL_ENV"}
        return kept | {
            "PATH": f"{self.python_folder}{os.pathsep}{base.get('PATH', os.defpath)}",
            "LD_LIBRARY_PATH": os.pathsep.join(map(str, self.library_folders)),
        }


@dataclass(frozen=True, slots=True)
class Machine:
    """What decides whether there is a Triton wheel for it."""

    system: str
    processor: str
    libc: tuple[str, str]
    python: tuple[int, int]


def this_machine() -> Machine:
    return Machine(platform.system(), platform.machine(), platform.libc_ver(), sys.version_info[:2])


def missing_wheel(machine: Machine) -> str | None:
    """Why there is no Triton wheel for this machine, as one sentence; None where there is one."""
    if (machine.system, machine.processor) != ("Linux", "x86_64"):
        return f"there is no Triton wheel for {machine.system} on {machine.processor}, only for Linux on x86_64."
    library, version = machine.libc
    numbers = tuple(map(int, re.findall(r"\d+", version)[:2]))
    if library != "glibc" or numbers < NEEDED_GLIBC:
        found = f"{library} {version}".strip() or "another C library"
        return f"the Triton wheel needs glibc 2.35 or newer and this machine has {found}; use a newer distribution."
    if machine.python > NEWEST_PYTHON:
        return (
            f"the Triton wheel reaches Python 3.13 and this is {'.'.join(map(str, machine.python))}; use an older one."
        )
    return None


def prepare(folder: Path = FOLDER, report: Report = unheard) -> Environment:
    """The environment in `folder`, built from the locked list of packages where it is not there yet."""
    reason = missing_wheel(this_machine())
    if reason is not None:
        raise LocalTritonFailed(reason)
    libpython = libpython_folder(_libpython_name(), _libpython_folders())
    folder = folder.resolve()
    with _alone(folder) as lock:
        if not _is_prepared(folder):
            _build(folder, lock, report)
    site = _site(folder)
    refuse_numpy_2(site)
    libraries = (site / "nvidia_pytriton.libs", libpython)
    server = site / "pytriton" / "tritonserver" / "bin" / "tritonserver"
    return Environment(server, folder / "backends", folder / "venv" / "bin", libraries)


def libpython_folder(name: str, folders: Iterable[Path]) -> Path:
    """Where the dynamic libpython lies that Triton's stub is linked to."""
    for folder in folders:
        if (folder / name).is_file():
            return folder
    package = name.removesuffix(".so.1.0")
    raise LocalTritonFailed(
        f"{name} is missing: this Python is linked statically and Triton's stub needs the library. "
        f"Install it (Debian: `apt-get install {package}`) or use a Python built with --enable-shared."
    )


def refuse_numpy_2(site: Path) -> None:
    found = sorted(path.name.split("-")[1] for path in site.glob("numpy-*.dist-info"))
    if found and all(version.startswith("1.") for version in found):
        return
    raise LocalTritonFailed(
        f"the local Triton needs numpy 1 and its environment has {', '.join(found) or 'none'}; with numpy 2 "
        f"every output would be empty. Delete {site.parents[3]} and run `lookonce up --prepare`."
    )


def locked_packages() -> Path:
    return Path(str(files("lookonce.local"))) / "triton.lock"


def _libpython_name() -> str:
    return f"libpython{sys.version_info.major}.{sys.version_info.minor}.so.1.0"


def _libpython_folders() -> Iterator[Path]:
    library, architecture = sysconfig.get_config_var("LIBDIR"), sysconfig.get_config_var("MULTIARCH")
    yield Path(sys.base_prefix, "lib")
    for folder in (library, "/usr/lib", "/usr/lib64"):
        yield Path(folder)
        yield Path(folder, architecture or "")


def _site(folder: Path) -> Path:
    return folder / "venv" / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"


def _key() -> str:
    """What the environment was built from: another lock or another Python asks for another environment."""
    return f"{hashlib.sha256(locked_packages().read_bytes()).hexdigest()} {platform.python_version()} {sys.base_prefix}"


def _is_prepared(folder: Path) -> bool:
    marker = folder / "prepared"
    return marker.is_file() and marker.read_text() == f"{folder} {_key()}"


@contextmanager
def _alone(folder: Path) -> Iterator[IO[str]]:
    """Two builders of one folder wait for each other."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / "lock").open("w")
    except OSError as error:
        raise LocalTritonFailed(f"{folder} cannot be written: {error.strerror}; name another folder.") from error
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield lock


def _build(folder: Path, lock: IO[str], report: Report) -> None:
    (folder / "prepared").unlink(missing_ok=True)
    for part in ("venv", "backends"):
        shutil.rmtree(folder / part, ignore_errors=True)
    lines = locked_packages().read_text().splitlines()
    left = iter(range(1, len(lines)))
    total = sum("==" in line for line in lines)

    def heard(line: str) -> None:
        if line.startswith(("Collecting", "Ignoring")):
            report(DOING, next(left), total)

    report(DOING, 0, total)
    _run([sys.executable, "-m", "venv", str(folder / "venv")], lock, heard)
    pip = [str(folder / "venv" / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", "--no-input", "install"]
    _run([*pip, "--require-hashes", "--no-deps", "--only-binary=:all:", "-r", str(locked_packages())], lock, heard)
    _assemble_backend(folder)
    (_site(folder) / "sitecustomize.py").write_text(KEEP_REPOSITORIES_CLEAN)
    (folder / "prepared").write_text(f"{folder} {_key()}")
    report(DOING, total, total)


def _run(command: Sequence[str], lock: IO[str], heard: Callable[[str], None]) -> None:
    """The child holds the lock too: should we be killed, nobody builds beside what it still does."""
    pipe, both, said = subprocess.PIPE, subprocess.STDOUT, list[str]()
    with subprocess.Popen(command, stdout=pipe, stderr=both, text=True, pass_fds=(lock.fileno(),)) as process:
        try:
            for line in process.stdout or ():
                said.append(line.strip())
                heard(said[-1])
        except BaseException:
            process.kill()
            raise
    if process.returncode:
        raise LocalTritonFailed(f"the local Triton could not be installed: {_complaint(said)}")


def _complaint(said: Sequence[str]) -> str:
    complaints = [line.removeprefix("ERROR: ") for line in said if line.startswith(("ERROR", "Error"))]
    return " ".join((complaints or ["the installer died without a word.", *said])[:2])


def _assemble_backend(folder: Path) -> None:
    """Triton wants the stub of our Python beside the Python backend's library."""
    server, backend = _site(folder) / "pytriton" / "tritonserver", folder / "backends" / "python"
    shutil.copytree(server / "backends" / "python", backend, ignore=shutil.ignore_patterns("__pycache__"))
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    shutil.copy2(server / "python_backend_stubs" / version / "triton_python_backend_stub", backend)
