"""From a published version's graph to its TensorRT plan: built once, tried, and only then put beside the graph."""

import math
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from lookonce.card import Agreement, Card, Engine, Target, Verdict
from lookonce.errors import EngineFailed, ModelRefused, ParityBroken
from lookonce.forge import engine_cache, repository
from lookonce.forge.agreement import REQUIRED_SHARE
from lookonce.forge.child import Errand
from lookonce.forge.config import RUNTIMES
from lookonce.forge.engine_cache import CachedPlan, Facts, Ingredients, sha256_of
from lookonce.forge.engine_check import LIKE_HALF, Bench, pictures_for, try_plan
from lookonce.forge.gpu import Gpu, find_gpu
from lookonce.forge.progress import Report
from lookonce.forge.staging import staging
from lookonce.forge.trtexec import (
    MILESTONES,
    Build,
    Profile,
    Trtexec,
    announced_bytes,
    ask_trtexec,
    build_command,
    find_trtexec,
    run_trtexec,
    supported,
)

GRAPH, PLAN = "model.onnx", RUNTIMES[Target.TENSORRT].filename
DEFAULT_TENSORRT = "10"
SIZE_TOLERANCE = 1e-4


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What is to be built, with what, and for which GPU; the newest version unless one is named."""

    repository: Path
    name: str
    version: int | None = None
    trtexec: str = "trtexec"
    device: str = ""
    best_batch: int | None = None
    cache: Path
    timing_cache: Path | None = None
    workspace_mib: int | None = None
    images: Path | None = None
    accept: bool = False


@dataclass(frozen=True, slots=True)
class Made:
    """`was_cached`: the plan was built before, for another repository or an earlier time."""

    card: Card
    engine: Engine
    plan: Path
    was_cached: bool


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """The command that would be run, saving beside the graph, and which TensorRT it is written for."""

    command: list[str]
    tensorrt_version: str
    was_asked: bool


@dataclass(frozen=True, slots=True)
class Job:
    """An order, once everything it depends on is known."""

    order: Order
    card: Card
    onnx: Path
    trtexec: Trtexec
    gpu: Gpu
    ingredients: Ingredients

    @property
    def logs(self) -> Path:
        return self.order.cache / "logs"

    def build(self, plan: Path) -> Build:
        timing = self.order.timing_cache or timing_cache(self.order.cache, self.trtexec.version, self.gpu)
        return Build(self.onnx, plan, self.ingredients.profile, timing.absolute(), self.order.workspace_mib)


def make_engine(order: Order, report: Report) -> Made:
    card = wanted_card(order)
    with cache_trouble(order.cache):
        (order.cache / "logs").mkdir(parents=True, exist_ok=True)
        job = prepare(order, card)
        with engine_cache.one_builder(order.cache, report):
            cached = engine_cache.find(order.cache, job.ingredients)
            plan = cached or build_plan(job, report)
            check_may_serve(card, plan.facts.agreement, accept=order.accept)
            return publish(job, plan, was_cached=cached is not None)


def rehearse(order: Order, tensorrt_version: str | None) -> Rehearsal:
    """Builds nothing; where a version is named, no program is asked anything either."""
    card = wanted_card(order)
    trtexec, gpu = _assumed(order, tensorrt_version)
    folder = repository.version_folder(order.repository, card)
    timing = order.timing_cache or timing_cache(order.cache, trtexec.version, gpu)
    build = Build(folder / GRAPH, folder / PLAN, profile_of(card, order.best_batch), timing, order.workspace_mib)
    variables = [f"{name}={value}" for name, value in Gpu("", "", order.device).variables.items()]
    command = [*(["env", *variables] if variables else []), *build_command(trtexec, build)]
    return Rehearsal(command, trtexec.version, was_asked=bool(trtexec.flags))


def _assumed(order: Order, tensorrt_version: str | None) -> tuple[Trtexec, Gpu | None]:
    if tensorrt_version is not None:
        return _named(order, tensorrt_version), None
    if shutil.which(order.trtexec) is None:
        return _named(order, DEFAULT_TENSORRT), None
    with tempfile.TemporaryDirectory() as folder:
        trtexec = ask_trtexec(find_trtexec(order.trtexec), Path(folder) / "help.log")
    try:
        return trtexec, find_gpu(order.device)
    except EngineFailed:
        return trtexec, None


def _named(order: Order, tensorrt_version: str) -> Trtexec:
    if not re.fullmatch(r"\d+(\.\d+)*", tensorrt_version):
        raise EngineFailed(f"{tensorrt_version!r} is no TensorRT version; write it like 10 or 11.1.0.")
    return supported(Trtexec(order.trtexec, tensorrt_version))


def wanted_card(order: Order) -> Card:
    there = repository.published(order.repository, order.name)
    card = there.card(order.version or max(there.cards))
    if card.target is not Target.TENSORRT:
        raise ModelRefused(
            f"version {card.version} of {card.name} is for the {card.target} target; "
            "import it with `--target tensorrt` to build a plan of it."
        )
    if card.raw is not None:
        raise ModelRefused(f"version {card.version} of {card.name} came as a plan and has no graph to build from.")
    return card


def prepare(order: Order, card: Card) -> Job:
    onnx = repository.version_folder(order.repository, card).absolute() / GRAPH
    digest = _digest_of_graph(onnx, card)
    profile = profile_of(card, order.best_batch)
    trtexec = ask_trtexec(find_trtexec(order.trtexec), order.cache / "logs" / f"trtexec-help-{os.getpid()}.log")
    gpu = find_gpu(order.device)
    ingredients = Ingredients(digest, trtexec.version, gpu.compute_capability, card.precision, profile)
    return Job(order, card, onnx, trtexec, gpu, ingredients)


def profile_of(card: Card, best_batch: int | None) -> Profile:
    best = 1 << (card.max_batch.bit_length() - 1) if best_batch is None else best_batch
    if not 1 <= best <= card.max_batch:
        raise EngineFailed(f"the best batch must be 1 to {card.max_batch}, which {card.name} was imported for.")
    return Profile(best, card.max_batch, (card.geometry.width, card.geometry.height))


def timing_cache(cache: Path, version: str, gpu: Gpu | None) -> Path:
    """One a version and GPU, for trtexec takes timings from any other too and never says so."""
    parts = ["timing", version, *([gpu.compute_capability, gpu.name] if gpu else [])]
    return cache / (re.sub(r"[^\w.-]+", "-", "-".join(parts)) + ".cache")


def _digest_of_graph(onnx: Path, card: Card) -> str:
    try:
        digest = sha256_of(onnx)
    except OSError as error:
        raise EngineFailed(f"{onnx} cannot be read: {error.strerror}; import the model again.") from error
    if digest != (card.engine.onnx_sha256 if card.engine else card.served_sha256):
        raise EngineFailed(f"{onnx} is not the file its card speaks of; import the model again as a new version.")
    return digest


def build_plan(job: Job, report: Report) -> CachedPlan:
    """Built, tried and kept in the cache; a plan that may not serve never gets there."""
    cache, key = job.order.cache.absolute(), job.ingredients.key
    pictures = pictures_for(job.card, job.order.images, report)
    with engine_cache.building_folder(cache) as folder:
        plan, log = folder / PLAN, cache / "logs" / f"{key}.log"
        command = build_command(job.trtexec, job.build(plan))
        errand = Errand(command, log, variables=job.gpu.variables)
        run_trtexec(errand, "could not build the plan", milestones(report))
        check_whole(plan, log)
        tried = cache / "logs" / f"{key}.check.log"
        bench = Bench(job.trtexec, plan, job.ingredients.profile, folder, tried, job.gpu.variables)
        agreement = try_plan(bench, job.card, job.onnx, pictures, report)
        check_may_serve(job.card, agreement, accept=job.order.accept)
        return engine_cache.keep(cache, plan, _facts(job, plan, agreement))


def milestones(report: Report) -> Callable[[str], None]:
    """Tells how far trtexec is from the lines it is known to say on the way."""
    ahead = list(MILESTONES)

    def heard(line: str) -> None:
        reached = [index for index, milestone in enumerate(ahead) if milestone in line]
        if reached:
            del ahead[: reached[0] + 1]
            report("building the plan", len(MILESTONES) - len(ahead), len(MILESTONES))

    report("building the plan", 0, len(MILESTONES))
    return heard


def check_whole(plan: Path, log: Path) -> None:
    said = announced_bytes(log.read_text("utf-8", "replace"))
    if not plan.exists():
        raise EngineFailed(f"trtexec said that it succeeded and wrote no plan; its log is {log}.")
    size = plan.stat().st_size
    if not size or (said and not math.isclose(size, said, rel_tol=SIZE_TOLERANCE)):
        whole = f" of {said / 2**20:.2f} MiB" if said else ""
        raise EngineFailed(
            f"trtexec said that it succeeded and wrote only {size} bytes{whole}; "
            f"look at the space left for {plan.parent.parent} and at its log, {log}."
        )


def check_may_serve(card: Card, agreement: Agreement, *, accept: bool) -> None:
    """Few detections that agree may serve, and the card says they were few; none at all prove nothing."""
    needed = needed_share(card)
    if accept or agreement.share >= needed:
        return
    few = agreement.verdict is Verdict.INSUFFICIENT
    advice = "give pictures of your own with `--images`" if few else "use another TensorRT version or precision"
    raise ParityBroken(
        f"{agreement.share:.1%} of the plan's detections agree with those of the graph it was built from, and "
        f"{needed:.0%} must ({agreement.detections} detections on {agreement.pictures} pictures); {advice}, "
        "or publish it so with `--accept`."
    )


def needed_share(card: Card) -> float:
    return REQUIRED_SHARE[LIKE_HALF.get(card.precision, card.precision)]


def publish(job: Job, plan: CachedPlan, *, was_cached: bool) -> Made:
    """The plan, the card and last the config change places in the repository, each whole."""
    facts, card = plan.facts, job.card
    engine = Engine(
        onnx_sha256=job.ingredients.onnx_sha256,
        tensorrt_version=job.ingredients.tensorrt_version,
        compute_capability=job.ingredients.compute_capability,
        gpu=facts.gpu,
        best_batch=job.ingredients.profile.best_batch,
        built=facts.built,
        agreement=replace(facts.agreement, accepted=facts.agreement.share < needed_share(card)),
    )
    served = replace(card, served_sha256=facts.plan_sha256, engine=engine)
    with staging(job.order.repository, card.name) as folder:
        engine_cache.place(plan.path, folder / PLAN)
        repository.amend(job.order.repository, served, folder)
    return Made(served, engine, repository.version_folder(job.order.repository, card) / PLAN, was_cached)


def _facts(job: Job, plan: Path, agreement: Agreement) -> Facts:
    built = datetime.now(UTC).isoformat(timespec="seconds")
    return Facts(
        ingredients=job.ingredients, plan_sha256=sha256_of(plan), gpu=job.gpu.name, built=built, agreement=agreement
    )


@contextmanager
def cache_trouble(cache: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise EngineFailed(
            f"the cache {cache} cannot be used: {error.strerror}; mend that, or name another folder with `--cache`."
        ) from error
