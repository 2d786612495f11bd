"""Orders to the callers and to the decoder, each a process of its own, and what they told as figures."""

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Final
from urllib.request import urlopen

import callers
import decoding
from asking import HOST, Order
from bed import BenchFailed, Served
from callers import Told
from figures import Steady

PATIENCE_S: Final = 660.0
GRPC_WAYS: Final = frozenset({"gRPC unary", "gRPC stream", "tensors"})


def order_for(served: Served, way: str, picture: Path, **changes: object) -> Order:
    port = served.grpc_port if way in GRPC_WAYS else served.port
    return Order(way=way, port=port, watch=served.pid, picture=str(picture), **changes)  # type: ignore[arg-type]


def told(order: Order) -> Told:
    return Told(**json.loads(_said([callers.__file__, json.dumps(asdict(order))])))


def steady(section: str, served: Served, order: Order) -> Steady:
    """A load on one server, measured; latencies are those of requests, the rest is by the image."""
    seen = told(order)
    return Steady(
        section=section,
        subject=served.subject,
        way=_named(order),
        picture=Path(order.picture).stem,
        callers=order.callers,
        images=seen.images,
        took_s=seen.took_s,
        cpu_s=seen.cpu_s,
        latencies_ms=tuple(seen.latencies_ms),
    )


def _named(order: Order) -> str:
    pictures = f", {order.pictures} images" if order.pictures > 1 else ""
    return f"{order.way}{pictures}{', at a fixed rate' if order.per_s else ''}"


def decode_ms(picture: Path, duration_s: float) -> float:
    """CPU of one bare exact decode."""
    return float(_said([decoding.__file__, str(picture), str(duration_s)]))


def request_ms(triton: Served, model: str) -> Callable[[], float]:
    """Gives Triton's own mean time for a request of this model, from now until it is asked."""
    count, total_ns = _successes(triton, model)

    def since() -> float:
        now, now_ns = _successes(triton, model)
        return (now_ns - total_ns) / (now - count) / 1e6

    return since


def _successes(triton: Served, model: str) -> tuple[int, int]:
    with urlopen(f"http://{HOST}:{triton.port}/v2/models/{model}/stats") as answer:
        success = json.load(answer)["model_stats"][0]["inference_stats"]["success"]
    return success["count"], success["ns"]


def _said(command: list[str]) -> str:
    done = subprocess.run([sys.executable, *command], capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    if done.returncode:
        raise BenchFailed(f"{Path(command[0]).stem} failed on {command[1]}: {done.stderr.strip()[-1500:]}")
    return done.stdout
