"""A gateway on free ports; its first line on stdout says where. It serves the sample model, or a fake one of its card.

The fake finds the same two things in every picture, at once.
"""

import asyncio
import json
import sys
from pathlib import Path

import numpy as np

from lookonce.app import build
from lookonce.card import card_from_json
from lookonce.inference.embedded import Embedded
from lookonce.inference.fake import Fake
from lookonce.inference.port import Call, Candidates, Inference, ServedModel
from lookonce.serving import Ports, serve
from lookonce.settings import read_settings

CPU = Path(__file__).parents[2] / "model_repository" / "cpu"


def two(call: Call) -> Candidates:
    rows = np.zeros((len(call.images), call.card.candidates, 6), np.float32)
    rows[..., 5] = -1
    rows[:, :2] = (100, 120, 300, 400, 0.9, 0), (310, 120, 500, 330, 0.6, 1)
    return rows


def fake() -> Fake:
    card = card_from_json((CPU / "shapes" / "1" / "card.json").read_bytes(), "shapes")
    return Fake({"shapes": ServedModel("shapes", 1, {1: card})}, two)


def tell(ports: Ports) -> None:
    sys.stdout.write(json.dumps({"url": f"http://127.0.0.1:{ports.http}"}) + "\n")
    sys.stdout.flush()


async def main(inference: Inference) -> None:
    anywhere = {"http_port": 0, "grpc_port": 0}
    settings = read_settings(server=anywhere, admin={"port": 0}, logs={"level": "warning"})
    await serve(build(settings, inference), tell)


if __name__ == "__main__":
    asyncio.run(main(fake() if "--fake" in sys.argv else Embedded(CPU)))
