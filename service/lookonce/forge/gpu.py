"""The GPU a plan is built for, as nvidia-smi tells."""

import subprocess
from dataclasses import dataclass

from lookonce.errors import EngineFailed

QUERY = "nvidia-smi", "--query-gpu=compute_cap,name", "--format=csv,noheader"
ANSWER_WITHIN_S = 60.0


@dataclass(frozen=True, slots=True)
class Gpu:
    """`device` is the index or UUID that was asked for, empty for whichever CUDA takes first."""

    compute_capability: str
    name: str
    device: str = ""

    @property
    def variables(self) -> dict[str, str]:
        """What makes CUDA see this GPU alone, counted as nvidia-smi counts."""
        if not self.device:
            return {}
        return {"CUDA_DEVICE_ORDER": "PCI_BUS_ID", "CUDA_VISIBLE_DEVICES": self.device}


def find_gpu(device: str = "") -> Gpu:
    text = _ask((*QUERY, f"--id={device}") if device else QUERY)
    found = [Gpu(*_facts(line), device) for line in text.splitlines() if line.strip()]
    if not found:
        raise EngineFailed("nvidia-smi sees no GPU here; a plan is built on the GPU that will run it.")
    if len({gpu.compute_capability for gpu in found}) > 1:
        kinds = ", ".join(f"{index}: {gpu.name} ({gpu.compute_capability})" for index, gpu in enumerate(found))
        raise EngineFailed(f"the GPUs here differ ({kinds}); say which one the plan is for with `--device`.")
    return found[0]


def _facts(line: str) -> tuple[str, str]:
    capability, _, name = (part.strip() for part in line.partition(","))
    major, _, minor = capability.partition(".")
    if not (major.isdecimal() and minor.isdecimal() and name):
        raise EngineFailed(f"nvidia-smi answered {line.strip()!r} instead of a compute capability; update the driver.")
    return capability, name


def _ask(command: tuple[str, ...]) -> str:
    try:
        asked = subprocess.run(command, capture_output=True, text=True, timeout=ANSWER_WITHIN_S, check=False)
    except FileNotFoundError as error:
        raise EngineFailed(
            "nvidia-smi is not on PATH, so the GPU is unknown; build the plan where the GPU is, "
            "or print the command with `--dry-run`."
        ) from error
    except OSError as error:
        raise EngineFailed(f"nvidia-smi cannot be started: {error.strerror}.") from error
    except subprocess.TimeoutExpired as error:
        raise EngineFailed(f"nvidia-smi did not answer within {ANSWER_WITHIN_S:.0f} s; is the driver well?") from error
    if asked.returncode:
        said = (asked.stderr or asked.stdout).strip().splitlines() or ["nothing"]
        raise EngineFailed(f"nvidia-smi failed with exit code {asked.returncode} and said: {said[-1]}")
    return asked.stdout
