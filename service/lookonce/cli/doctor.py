"""`lookonce doctor`: what is wrong with this set-up, and how to mend it."""

import asyncio
import resource
import shutil
import ssl
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

import httpx
import typer
from rich.markup import escape

from lookonce.access.keyring import Keyring
from lookonce.app import context_of, pem_of
from lookonce.cli import console
from lookonce.cli.serve import addresses_of
from lookonce.doors import Address, listen
from lookonce.errors import GatewayFailed, LookOnceError, SettingsRefused
from lookonce.inference.port import Inference
from lookonce.inference.shared import SHM
from lookonce.inference.spread import inference_for
from lookonce.local.environment import missing_wheel, this_machine
from lookonce.pipeline.catalogue import Catalogue
from lookonce.pipeline.workers import cpus
from lookonce.settings import Settings, read_settings

ENOUGH_FILES: Final = 4096
ENOUGH_MEMORY_BYTES: Final = 64 * 2**20
USUAL_PICTURE_BYTES: Final = 640 * 640 * 3
SOON: Final = timedelta(days=14)
FLIGHTS: Final = 4
"""How often each side of a TLS handshake may have to speak."""


class Verdict(StrEnum):
    GOOD = "good"
    MIND = "mind"
    BAD = "bad"


COLOURS: Final = {Verdict.GOOD: "green", Verdict.MIND: "yellow", Verdict.BAD: "bold red"}


@dataclass(frozen=True, slots=True)
class Finding:
    """What was looked at, how it is, and for whatever is not good also what to do."""

    what: str
    verdict: Verdict
    words: str


app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def doctor() -> None:
    """Look at the settings, the ports, the keys, the certificates, this machine and Triton, and say what to mend."""
    worst = Verdict.GOOD
    for finding in findings():
        colour = COLOURS[finding.verdict]
        line = f"[{colour}]{finding.verdict:>5}[/]  [bold]{finding.what}[/]  {escape(finding.words)}"
        console.out.print(line, highlight=False, soft_wrap=True)
        worst = max(worst, finding.verdict, key=list(Verdict).index)
    if worst is Verdict.BAD:
        raise typer.Exit(1)


def findings() -> Iterator[Finding]:
    try:
        settings = read_settings()
    except SettingsRefused as error:
        yield Finding("settings", Verdict.BAD, str(error))
        return
    yield Finding("settings", Verdict.GOOD, "agree with each other; `lookonce serve --print-config` shows them.")
    for look in LOOKS:
        yield from look(settings)


def machine(settings: Settings) -> Iterator[Finding]:
    threads = settings.limits.threads or cpus()
    yield Finding("threads", Verdict.GOOD, f"{threads} decode, on {cpus()} CPUs that this process may use.")
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    enough = soft >= ENOUGH_FILES or soft == resource.RLIM_INFINITY
    mend = "" if enough else f" A busy gateway needs {ENOUGH_FILES}; raise it with `ulimit -n {ENOUGH_FILES}`."
    yield Finding("open files", Verdict.GOOD if enough else Verdict.MIND, f"{soft} are allowed.{mend}")
    why_not = missing_wheel(this_machine())
    words = "has a Triton wheel, so `lookonce up` can run one." if why_not is None else why_not
    yield Finding("local Triton", Verdict.GOOD if why_not is None else Verdict.MIND, f"this machine {words}")
    yield from shared_memory(SHM, settings)


def shared_memory(folder: Path, settings: Settings) -> Iterator[Finding]:
    """What Triton's Python backend needs, and what pictures take that are laid there."""
    if not folder.is_dir():
        return
    shares = settings.triton.transport == "shared-memory"
    pictures_bytes = settings.limits.max_in_flight * USUAL_PICTURE_BYTES if shares else 0
    free, needed = shutil.disk_usage(folder).free, ENOUGH_MEMORY_BYTES + pictures_bytes
    enough = free >= needed
    whose = "Triton's Python backend and the pictures" if shares else "Triton's Python backend"
    mend = "" if enough else f" {whose} need {needed / 2**20:.0f} MiB; give the container a larger /dev/shm."
    yield Finding("shared memory", Verdict.GOOD if enough else Verdict.BAD, f"{free / 2**20:.0f} MiB are free.{mend}")


def doors(settings: Settings) -> Iterator[Finding]:
    running = gateway_at(settings.admin.host, settings.admin.port)
    if running is not None:
        yield Finding("ports", *running)
        return
    for address in addresses_of(settings):
        yield free_or_taken(address)


def gateway_at(host: str, port: int) -> tuple[Verdict, str] | None:
    """How the gateway is that already serves there; None where none does."""
    try:
        url = httpx.URL(scheme="http", host=host.strip("[]"), port=port, path="/readyz")
        answer = httpx.get(url, timeout=2, trust_env=False)
        status, reasons = told(answer.json())
    except (httpx.HTTPError, httpx.InvalidURL, ValueError):
        return None
    verdict = Verdict.GOOD if answer.is_success else Verdict.BAD
    return verdict, " ".join([f"a gateway serves here already and is {status}.", *reasons])


def told(body: Any) -> tuple[str, list[str]]:  # noqa: ANN401  it may be anybody's
    """What a gateway says of itself. Raises ValueError where no gateway says this."""
    match body:
        case {"status": str(status), "reasons": dict(reasons)}:
            return status, [f"{name}: {why}" for name, why in reasons.items()]
        case _:
            raise ValueError


def free_or_taken(address: Address) -> Finding:
    what = f"port {address.port}"
    try:
        listen(address).close()
    except GatewayFailed as error:
        return Finding(what, Verdict.BAD, str(error))
    return Finding(what, Verdict.GOOD, f"of {address.host} is free.")


def access(settings: Settings) -> Iterator[Finding]:
    if settings.keys.file is None:
        words = "are not asked for, on loopback." if not settings.keys.anonymous else "are not asked for, by your wish."
        yield Finding("keys", Verdict.MIND if settings.keys.anonymous else Verdict.GOOD, words)
        return
    warnings = list[str]()
    try:
        Keyring(settings.keys.file, lambda event, facts: warnings.append(f"{event}: {dict(facts)}"))
    except LookOnceError as error:
        yield Finding("keys", Verdict.BAD, str(error))
        return
    verdict = Verdict.MIND if warnings else Verdict.GOOD
    yield Finding("keys", verdict, " ".join([f"{settings.keys.file} can be read.", *warnings]))


def certificates(settings: Settings) -> Iterator[Finding]:
    certificate, key = settings.tls.certificate, settings.tls.key
    if certificate is None or key is None:
        return
    try:
        pem_of(settings.tls)
        context = context_of(settings.tls)
        assert context is not None  # noqa: S101  there are both files
        ends = good_until(context, certificate)
    except SettingsRefused as error:
        yield Finding("certificate", Verdict.BAD, str(error))
        return
    except (OSError, ValueError) as error:
        why = getattr(error, "verify_message", None) or str(error)
        yield Finding("certificate", Verdict.BAD, f"callers will refuse {certificate}: {why}. Make or renew it.")
        return
    soon = ends - datetime.now(UTC) < SOON
    mend = " Renew it." if soon else ""
    words = f"{certificate} is good until {ends:%Y-%m-%d %H:%M} UTC.{mend}"
    yield Finding("certificate", Verdict.MIND if soon else Verdict.GOOD, words)


def good_until(context: ssl.SSLContext, certificate: Path) -> datetime:
    """What a caller who trusts this very certificate is told of its end. Raises ssl.SSLError where it would refuse."""
    trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    trusting.check_hostname = False
    trusting.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    trusting.load_verify_locations(certificate)
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = context.wrap_bio(there, back, server_side=True), trusting.wrap_bio(back, there)
    for end in ends * FLIGHTS:
        with suppress(ssl.SSLWantReadError):
            end.do_handshake()
    facts = ends[1].getpeercert() or {}
    return datetime.fromtimestamp(ssl.cert_time_to_seconds(str(facts["notAfter"])), UTC)


def triton(settings: Settings) -> Iterator[Finding]:
    with asyncio.Runner() as runner:
        yield from runner.run(_triton(settings))


async def _triton(settings: Settings) -> list[Finding]:
    inference: Inference = inference_for(settings.triton.url)
    catalogue = Catalogue(inference, settings.models.default, settings.models.names)
    try:
        await catalogue.refresh()
    finally:
        await inference.close()
    if "triton" in catalogue.troubles:
        return [Finding("Triton", Verdict.BAD, f"{catalogue.troubles['triton']} Is LOOKONCE_TRITON__URL right?")]
    good = [
        Finding(
            f"model {name}",
            Verdict.GOOD,
            f"answers; version {model.default_version} is the default of {len(model.cards)}.",
        )
        for name, model in catalogue.models.items()
    ]
    bad = [Finding(f"model {name}", Verdict.BAD, why) for name, why in catalogue.reasons.items()]
    minor = [
        Finding(f"model {name}", Verdict.MIND, why)
        for name, why in catalogue.troubles.items()
        if name not in catalogue.reasons
    ]
    return [*good, *bad, *minor]


LOOKS: Final[tuple[Callable[[Settings], Iterator[Finding]], ...]] = (machine, doors, access, certificates, triton)
