"""What a person sees: results on stdout, everything else on stderr."""

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

from lookonce import errors
from lookonce.forge.progress import Report

out = Console()
err = Console(stderr=True)

EXIT_CODES: dict[type[errors.LookOnceError], int] = {
    errors.LookOnceError: 1,
    errors.BadModelFile: 10,
    errors.LayoutUnknown: 11,
    errors.ModelRefused: 12,
    errors.ParityBroken: 13,
    errors.RepositoryRefused: 20,
    errors.VersionExists: 21,
    errors.FaceDiffers: 22,
    errors.NotServed: 23,
    errors.EngineFailed: 30,
    errors.NotSigned: 40,
    errors.FileChanged: 41,
    errors.FileMissing: 42,
    errors.WrongKey: 43,
    errors.FileUnsigned: 44,
    errors.LocalTritonFailed: 50,
    errors.SettingsRefused: 60,
    errors.GatewayFailed: 61,
    errors.DetectionFailed: 62,
    errors.ExtraMissing: 63,
}


def exit_code(error: errors.LookOnceError) -> int:
    return next(EXIT_CODES[kind] for kind in type(error).__mro__ if kind in EXIT_CODES)


@contextmanager
def progress() -> Iterator[Report]:
    """A bar on stderr for each thing that is being done; it vanishes when all is done."""
    columns = SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    with Progress(*columns, console=err, transient=True) as bars:
        tasks = dict[str, TaskID]()

        def report(doing: str, done: int, total: int) -> None:
            if doing not in tasks:
                tasks[doing] = bars.add_task(doing, total=total)
            bars.update(tasks[doing], completed=done, total=total)

        yield report
