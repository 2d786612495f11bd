"""Why a Triton did not start, read from its log."""

import re
from collections.abc import Iterator
from typing import Final

_TELLING: Final = tuple(
    (re.compile(pattern), sentence)
    for pattern, sentence in (
        (
            r"failed to load '(?P<model>[^']+)' version \d+: .*find backend library for backend '(?P<why>[^']+)'",
            "{model} needs the backend {why}, which the local Triton does not have; --repository names another folder",
        ),
        (
            r"failed to load '(?P<model>[^']+)' version (?P<version>\d+): (?!.*find backend library)(?P<why>.+)",
            "{model} version {version}: {why}",
        ),
        (
            r"text-format inference.ModelConfig: (?P<why>.+)\n.+model directory '(?P<model>[^']+)': failed to read",
            "{model}: its config.pbtxt is broken at {why}",
        ),
        (r"Poll failed for model directory '(?P<model>[^']+)': (?!failed to read text)(?P<why>.+)", "{model}: {why}"),
        (r"failed to (?:load|poll) model '(?P<model>[^']+)': (?P<why>.+)", "{model}: {why}"),
        (r"(?P<why>Python model file not found in '[^'\n]+')", "{why}"),
        (r"(?P<why>error while loading shared libraries: .+)", "{why}"),
        (r"(?P<why>failed to (?:start|create).+(?:server|service|endpoint).*)", "{why}"),
    )
)
_HANGS: Final = re.compile("Failed to preinitialize Python stub")
_NOISE: Final = re.compile(r'\\n.*|"?$')


def hangs(log: str) -> bool:
    """Triton waits for ever for a Python model whose file is missing."""
    return _HANGS.search(log) is not None


def reason(log: str) -> str:
    """What Triton says went wrong, each thing once; its last words where it names nothing."""
    told = list(dict.fromkeys(_told(log)))
    if told:
        return "; ".join(told)
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    return lines[-1] if lines else "it died without a word"


def _told(log: str) -> Iterator[str]:
    for pattern, sentence in _TELLING:
        for match in pattern.finditer(log):
            facts = match.groupdict()
            yield sentence.format_map(facts | {"why": _NOISE.sub("", facts["why"]).rstrip(". ")})
