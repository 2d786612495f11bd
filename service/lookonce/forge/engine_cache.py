"""Plans that were built before, each under the digest of everything it depends on."""

import fcntl
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pydantic import TypeAdapter, ValidationError

from lookonce.card import Agreement, Precision
from lookonce.forge.progress import Report
from lookonce.forge.trtexec import Profile

BUILDING: Final = ".building-"


@dataclass(frozen=True, slots=True)
class Ingredients:
    """All that a plan depends on; another value of any of them is another plan."""

    onnx_sha256: str
    tensorrt_version: str
    compute_capability: str
    precision: Precision
    profile: Profile

    @property
    def key(self) -> str:
        return hashlib.sha256(_ingredients.dump_json(self)).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What is known of a plan; lies beside it, and is written last."""

    ingredients: Ingredients
    plan_sha256: str
    gpu: str
    built: str
    agreement: Agreement


@dataclass(frozen=True, slots=True)
class CachedPlan:
    path: Path
    facts: Facts


_ingredients = TypeAdapter(Ingredients)
_facts = TypeAdapter(Facts)


def default_cache() -> Path:
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(root) / "lookonce" / "engines"


@contextmanager
def one_builder(cache: Path, report: Report) -> Iterator[None]:
    """One build at a time in a cache: the second of two finds what the first built, and neither spoils timings."""
    with (cache / ".lock").open("a") as held:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            report("waiting for another build to end", 0, 1)
            fcntl.flock(held, fcntl.LOCK_EX)
            report("waiting for another build to end", 1, 1)
        yield


def find(cache: Path, ingredients: Ingredients) -> CachedPlan | None:
    """The plan, if it is there and is still, to the byte, what was built."""
    plan, facts_file = cache / f"{ingredients.key}.plan", cache / f"{ingredients.key}.json"
    try:
        facts = _facts.validate_json(facts_file.read_bytes())
        intact = facts.ingredients == ingredients and facts.plan_sha256 == sha256_of(plan)
    except (OSError, ValidationError):
        return None
    return CachedPlan(plan, facts) if intact else None


def keep(cache: Path, built: Path, facts: Facts) -> CachedPlan:
    """Takes the built file over: first the plan under its name, then the facts that make it count."""
    plan, facts_file = cache / f"{facts.ingredients.key}.plan", cache / f"{facts.ingredients.key}.json"
    facts_file.unlink(missing_ok=True)
    _to_disk(built)
    built.replace(plan)
    fresh = built.with_name(facts_file.name)
    fresh.write_bytes(_facts.dump_json(facts, indent=2))
    _to_disk(fresh)
    fresh.replace(facts_file)
    return CachedPlan(plan, facts)


@contextmanager
def building_folder(cache: Path) -> Iterator[Path]:
    """Where a plan is built and tried; what killed builders left is swept away, for only one builds at a time."""
    for leftover in cache.glob(f"{BUILDING}*"):
        shutil.rmtree(leftover, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=BUILDING, dir=cache, ignore_cleanup_errors=True) as folder:
        yield Path(folder)


def place(source: Path, target: Path) -> None:
    """The same bytes under another name: a hard link, or a copy where that cannot be."""
    try:
        target.hardlink_to(source)
    except OSError:
        shutil.copyfile(source, target)


def sha256_of(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _to_disk(file: Path) -> None:
    with file.open("rb") as stream:
        os.fsync(stream.fileno())
