"""`lookonce doctor`: what is wrong with this set-up, and how to mend it."""

import asyncio
import resource
import shutil
import ssl
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Final

import httpx
import typer
from cryptography import x509
from rich.markup import escape

from lookonce.access.keyring import Keyring
from lookonce.cli import console
from lookonce.doors import Address, listen
from lookonce.errors import GatewayFailed, LookOnceError, SettingsRefused
from lookonce.inference.port import Inference
from lookonce.inference.spread import inference_for
from lookonce.local.environment import missing_wheel, this_machine
from lookonce.pipeline.catalogue import Catalogue
from lookonce.pipeline.workers import cpus
from lookonce.settings import Settings, read_settings

ENOUGH_FILES: Final = 4096
ENOUGH_MEMORY_BYTES: Final = 64 * 2**20
SOON: Final = timedelta(days=14)


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
    yield from shared_memory(Path("/dev/shm"))  # noqa: S108  it is what Triton's Python backend uses


def shared_memory(folder: Path) -> Iterator[Finding]:
    if not folder.is_dir():
        return
    free = shutil.disk_usage(folder).free
    enough = free >= ENOUGH_MEMORY_BYTES
    mend = "" if enough else " Triton's Python backend needs 64 MiB; give the container a larger /dev/shm."
    yield Finding("shared memory", Verdict.GOOD if enough else Verdict.BAD, f"{free / 2**20:.0f} MiB are free.{mend}")


def doors(settings: Settings) -> Iterator[Finding]:
    server, admin = settings.server, settings.admin
    addresses = (
        Address(server.host, server.http_port, "LOOKONCE_SERVER__HTTP_PORT"),
        Address(server.host, server.grpc_port, "LOOKONCE_SERVER__GRPC_PORT"),
        Address(admin.host, admin.port, "LOOKONCE_ADMIN__PORT"),
    )
    running = gateway_at(admin.host, admin.port)
    if running is not None:
        yield Finding("ports", *running)
        return
    for address in addresses:
        yield free_or_taken(address)


def gateway_at(host: str, port: int) -> tuple[Verdict, str] | None:
    """How the gateway is that already serves there; None where none does."""
    try:
        answer = httpx.get(f"http://{host}:{port}/readyz", timeout=2)
        body = answer.json()
        reasons = "; ".join(f"{name}: {why}" for name, why in body["reasons"].items())
    except (httpx.HTTPError, ValueError, KeyError):
        return None
    ready = answer.is_success
    return (Verdict.GOOD if ready else Verdict.BAD), f"a gateway serves here already and is {body['status']}. {reasons}"


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
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key)
        ends = x509.load_pem_x509_certificate(certificate.read_bytes()).not_valid_after_utc
    except (OSError, ValueError) as error:
        yield Finding("certificate", Verdict.BAD, f"{certificate} with {key} cannot be used: {error}; make them anew.")
        return
    left = ends - datetime.now(UTC)
    verdict = Verdict.BAD if left < timedelta() else Verdict.MIND if left < SOON else Verdict.GOOD
    mend = "" if verdict is Verdict.GOOD else " Renew it."
    yield Finding("certificate", verdict, f"{certificate} is good until {ends:%Y-%m-%d %H:%M} UTC.{mend}")


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
