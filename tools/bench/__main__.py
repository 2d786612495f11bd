"""Measure everything that LookOnce promises of its speed, in one run: tables, numbers and pictures, and a verdict.

It starts what it needs on free ports, and ends it again: a local Triton, gateways as they come, the conventional way.
"""

import argparse
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

import report
import scaled
import shelf
import stages
import wire
from asking import HOST
from bed import TRANSPORTS, BenchFailed, conventional, gateway, triton
from figures import Findings
from photos import write_photos
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from sections import QUICK, SECTIONS, Bench, Found, Pace

from lookonce.errors import LookOnceError
from lookonce.local.environment import FOLDER, prepare

RESULTS: Final = Path("bench/results")
STAGES, WIRE, SCALED = "stages", "wire", "scaled"
ALL: Final = (*SECTIONS, STAGES, WIRE, SCALED)


def main() -> int:
    wishes = _wishes(sys.argv[1:])
    console = Console()
    try:
        if wishes.markdown:
            print(report.markdown(wishes.markdown), end="")
            return 0
        findings = _measured(wishes)
    except (BenchFailed, LookOnceError) as error:
        Console(stderr=True).print(f"[bold red]the bench failed:[/] {error}", highlight=False)
        return 2
    except KeyboardInterrupt:
        return 130
    report.write(findings, wishes.results, console)
    return 0 if wishes.quick or all(bar.is_met for bar in findings.bars) else 1


def _wishes(words: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="tools/bench", description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help="one short round, no verdict: to try the tool")
    parser.add_argument("--only", nargs="+", choices=ALL, default=ALL, metavar="SECTION", help=f"of {', '.join(ALL)}")
    parser.add_argument("--markdown", type=Path, metavar="FOLDER", help="only print the tables of the run in there")
    parser.add_argument("--results", type=Path, default=RESULTS, help="the folder for the numbers and the pictures")
    parser.add_argument("--environment", type=Path, default=FOLDER, help="where Triton's virtual environment lies")
    return parser.parse_args(words)


def _measured(wishes: argparse.Namespace) -> Findings:
    began, load = time.monotonic(), os.getloadavg()[0]
    with _progress(len(wishes.only)) as (say, done), _bed(wishes, say) as bench:
        found = {}
        for name in wishes.only:
            say(name)
            found[name] = _section(name, bench, quick=wishes.quick)
            done()
    steady = [one for one in found.values() if isinstance(one, Found)]
    told = found.get(WIRE, {})
    return Findings(
        machine=_machine() | {"load_before": f"{load:.1f}", "took_s": round(time.monotonic() - began)},
        stages=found.get(STAGES, ()),
        loads=[each for one in steady for each in one.loads],
        bars=[*(each for one in steady for each in one.bars), *(wire.bars(told) if told else ())],
        wire=told,
        scaled=found.get(SCALED, ()),
    )


def _section(name: str, bench: Bench, *, quick: bool) -> object:
    url = f"{HOST}:{bench.triton.grpc_port}"
    alone: Mapping[str, Callable[[], object]] = {
        STAGES: lambda: _stages(bench.photos, url, quick=quick),
        WIRE: lambda: wire.measure(url, quick),
        SCALED: lambda: scaled.measure(quick),
    }
    return alone[name]() if name in alone else SECTIONS[name](bench)


def _stages(photos: Mapping[str, Path], url: str, *, quick: bool) -> list[stages.Stage]:
    files = {name: path.read_bytes() for name, path in photos.items()}
    return [*stages.measure(files, shelf.CARD, quick), *stages.measure_rpc(url, shelf.CARD, quick)]


@contextmanager
def _bed(wishes: argparse.Namespace, say: Callable[[str], None]) -> Iterator[Bench]:
    with ExitStack() as stack:
        desk = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="lookonce-bench-")))
        environment = prepare(wishes.environment)
        models = shelf.lay(desk / "models")
        wire.lay_models(models)
        say("starting Triton")
        alone = stack.enter_context(triton(environment, models, desk))
        say("starting the gateways")
        yield Bench(
            pace=QUICK if wishes.quick else Pace(),
            photos=write_photos(desk),
            triton=alone,
            gateways={
                name: stack.enter_context(gateway(name, alone, shelf.NOTHING, desk)) for name in reversed(TRANSPORTS)
            },
            conventional=stack.enter_context(conventional(alone, desk)),
            environment=environment,
            desk=desk,
            say=say,
        )


@contextmanager
def _progress(sections: int) -> Iterator[tuple[Callable[[str], None], Callable[[], None]]]:
    """What tells of the work at hand, and what counts a section as done."""
    columns = BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("{task.description}")
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("", total=sections)
        yield lambda doing: progress.update(task, description=doing), lambda: progress.advance(task)


def _machine() -> dict[str, object]:
    return {
        "cpus": len(os.sched_getaffinity(0)),
        "processor": _processor(),
        "python": platform.python_version(),
        "measured": time.strftime("%Y-%m-%d"),
    }


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())


if __name__ == "__main__":
    sys.exit(main())
