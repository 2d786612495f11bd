"""A gateway over the fake, as a process of its own: `slow_gateway.py LATENCY_S`. It prints its ports as JSON."""

import asyncio
import json
import sys
from dataclasses import asdict, replace

from tests.conftest import A_CARD

from lookonce.app import build
from lookonce.inference.fake import Fake
from lookonce.inference.port import ServedModel
from lookonce.serving import Ports, serve
from lookonce.settings import read_settings

CARD = replace(A_CARD, name="slow")


def tell(ports: Ports) -> None:
    sys.stdout.write(json.dumps(asdict(ports)) + "\n")
    sys.stdout.flush()


async def main(latency_s: float) -> None:
    settings = read_settings(server={"http_port": 0, "grpc_port": 0}, admin={"port": 0})
    fake = Fake({"slow": ServedModel("slow", 1, {1: CARD})}, latency_s={"slow": latency_s})
    await serve(build(settings, fake), tell)


asyncio.run(main(float(sys.argv[1])))
