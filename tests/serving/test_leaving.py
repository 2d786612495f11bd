"""SIGTERM: what is in flight is finished, what is new is refused, streams are told, and the exit is clean."""

import asyncio
import json
import os
import signal
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import grpc.aio
import httpx
import pytest
from grpc_health.v1.health_pb2 import HealthCheckRequest
from grpc_health.v1.health_pb2_grpc import HealthStub
from tests.certificates import self_signed
from tests.serving.conftest import Process, Start
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from lookonce.transports.proto.lookonce.v1 import detection_pb2 as wire
from lookonce.transports.proto.lookonce.v1.detection_pb2_grpc import DetectionStub

PNG_HEADERS = {"Content-Type": "image/png"}
BEGUN = b"POST /v1/detect HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: image/png\r\nContent-Length: 9\r\n\r\n"
HEALTHZ = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"

LONG = {
    "LOOKONCE_TIMEOUTS__GRACE_S": "600",
    "LOOKONCE_TIMEOUTS__BODY_S": "600",
    "LOOKONCE_LIMITS__MAX_REQUESTS": "1",
}


async def until_status(http: httpx.AsyncClient, method: str, path: str, status: int) -> None:
    async with asyncio.timeout(20):
        while (await http.request(method, path, headers=PNG_HEADERS)).status_code != status:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def test_what_is_in_flight_is_finished_and_the_exit_is_clean(start: Start, png: bytes) -> None:
    with start(1.0, LOOKONCE_LIMITS__MAX_IN_FLIGHT="16") as process:
        async with httpx.AsyncClient(base_url=process.url, timeout=30) as http:
            asked = [asyncio.create_task(http.post("/v1/detect", content=png, headers=PNG_HEADERS)) for _ in range(16)]
            await until_status(http, "POST", "/v1/detect", 429)
            process.popen.send_signal(signal.SIGTERM)
            answers = await asyncio.gather(*asked)
        code, log = await asyncio.to_thread(process.ended)
    assert [answer.status_code for answer in answers] == [200] * 16
    assert code == 0
    assert "leaving" in [line["event"] for line in log]


async def test_it_serves_on_not_ready_for_the_drain_time(start: Start, png: bytes) -> None:
    with start(LOOKONCE_TIMEOUTS__DRAIN_S="600") as process:
        async with httpx.AsyncClient(base_url=process.url, timeout=30) as http:
            assert (await http.get("/readyz")).status_code == 200
            process.popen.send_signal(signal.SIGTERM)
            await until_status(http, "GET", "/readyz", 503)
            assert (await http.get("/readyz")).json()["reasons"] == {"gateway": "it is shutting down."}
            assert (await http.get("/healthz")).status_code == 200
            assert (await http.post("/v1/detect", content=png, headers=PNG_HEADERS)).status_code == 200
            process.popen.send_signal(signal.SIGTERM)
        code, _ = await asyncio.to_thread(process.ended)
    assert code == 0


async def test_a_websocket_is_told_that_we_go(start: Start, png: bytes) -> None:
    with start() as process:
        async with connect(f"ws://127.0.0.1:{process.ports.http}/v1/stream", proxy=None) as stream:
            await stream.send(png)
            assert json.loads(await stream.recv())["frame"] == 1
            process.popen.send_signal(signal.SIGTERM)
            with pytest.raises(ConnectionClosed) as closed:
                await asyncio.wait_for(stream.recv(), 20)
        code, _ = await asyncio.to_thread(process.ended)
    assert closed.value.rcvd.code == 1001
    assert code == 0


async def test_a_grpc_stream_is_told_and_health_says_so_before(start: Start, png: bytes) -> None:
    with start(LOOKONCE_TIMEOUTS__DRAIN_S="600") as process:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{process.ports.grpc}") as channel:
            watch = HealthStub(channel).Watch(HealthCheckRequest())
            assert (await watch.read()).status == 1
            stream = DetectionStub(channel).DetectStream()
            await stream.write(wire.DetectStreamRequest(frame=wire.Frame(id="7", image=png)))
            assert (await stream.read()).id == "7"
            process.popen.send_signal(signal.SIGTERM)
            assert (await asyncio.wait_for(watch.read(), 20)).status == 2
            process.popen.send_signal(signal.SIGTERM)
            with pytest.raises(grpc.aio.AioRpcError, match="shutting down") as told:
                await asyncio.wait_for(stream.read(), 20)
        code, _ = await asyncio.to_thread(process.ended)
    assert told.value.code() is grpc.StatusCode.UNAVAILABLE
    assert code == 0


async def test_a_caller_who_never_ends_does_not_hold_us_longer_than_the_grace_time(start: Start) -> None:
    with (
        start(LOOKONCE_TIMEOUTS__GRACE_S="1", LOOKONCE_TIMEOUTS__BODY_S="600") as process,
        socket.create_connection(("127.0.0.1", process.ports.http)) as caller,
    ):
        caller.sendall(BEGUN)
        process.popen.send_signal(signal.SIGTERM)
        code, log = await asyncio.to_thread(process.ended)
    assert code == 0
    assert not [line for line in log if line["event"] == "bug"]


@asynccontextmanager
async def leaving_before_the_last_word(process: Process) -> AsyncIterator[socket.socket]:
    """A gateway that was told to go while a request's body had not come."""
    with socket.create_connection(("127.0.0.1", process.ports.http), 30) as caller:
        caller.sendall(BEGUN)
        async with httpx.AsyncClient(base_url=process.url, timeout=30) as http:
            await until_status(http, "GET", "/v1/models", 429)
            process.popen.send_signal(signal.SIGTERM)
            await until_status(http, "GET", "/v1/models", 503)
        yield caller


async def test_a_second_signal_cuts_the_grace_time_short(start: Start) -> None:
    with start(**LONG) as process:
        async with leaving_before_the_last_word(process):
            assert process.popen.poll() is None
            process.popen.send_signal(signal.SIGINT)
            code, _ = await asyncio.to_thread(process.ended)
    assert code == 0


async def test_new_calls_are_told_that_we_go_while_an_old_one_is_finished(start: Start, png: bytes) -> None:
    with start(**LONG) as process:
        async with (
            leaving_before_the_last_word(process) as caller,
            grpc.aio.insecure_channel(f"127.0.0.1:{process.ports.grpc}") as channel,
        ):
            stub = DetectionStub(channel)
            for call in stub.Detect(wire.DetectRequest(images=[png])), stub.ListModels(wire.ListModelsRequest()):
                with pytest.raises(grpc.aio.AioRpcError) as told:
                    await call
                assert told.value.code() is grpc.StatusCode.UNAVAILABLE
                assert dict(told.value.trailing_metadata())["lookonce-code"] == "draining"
            caller.sendall(b"no image.")
            assert caller.recv(100).startswith(b"HTTP/1.1 415")
        code, _ = await asyncio.to_thread(process.ended)
    assert code == 0


async def test_an_idle_caller_over_tls_who_answers_no_farewell_does_not_hold_us(start: Start, tmp_path: Path) -> None:
    """OpenSSL would wait for its `close_notify` for half a minute."""
    tls = self_signed(tmp_path)
    certificate, key = tls.certificate, tls.key
    trusting = ssl.create_default_context(cafile=certificate)
    with (
        start(LOOKONCE_TLS__CERTIFICATE=str(certificate), LOOKONCE_TLS__KEY=str(key)) as process,
        socket.create_connection(("127.0.0.1", process.ports.http), 20) as line,
        trusting.wrap_socket(line, server_hostname="localhost") as idle,
    ):
        idle.sendall(HEALTHZ)
        assert idle.recv(100).startswith(b"HTTP/1.1 200")
        process.popen.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(process.popen.wait, 15) == 0


@pytest.mark.parametrize("what", ["a pipe that nobody reads", "a full disk"])
async def test_a_log_that_cannot_be_written_changes_nothing(start: Start, png: bytes, what: str) -> None:
    stderr = broken_pipe() if "pipe" in what else os.open("/dev/full", os.O_WRONLY)
    try:
        with start(stderr=stderr, LOOKONCE_TIMEOUTS__DRAIN_S="600") as process:
            async with (
                httpx.AsyncClient(base_url=process.url, timeout=30) as http,
                grpc.aio.insecure_channel(f"127.0.0.1:{process.ports.grpc}") as channel,
            ):
                for _ in range(3):
                    assert (await http.post("/v1/detect", content=png, headers=PNG_HEADERS)).status_code == 200
                    assert (await DetectionStub(channel).Detect(wire.DetectRequest(images=[png]))).results
                process.popen.send_signal(signal.SIGTERM)
                await until_status(http, "GET", "/readyz", 503)
                assert (await DetectionStub(channel).Detect(wire.DetectRequest(images=[png]))).results
            process.popen.send_signal(signal.SIGTERM)
            code = await asyncio.to_thread(process.popen.wait, 30)
    finally:
        os.close(stderr)
    assert code == 0


def broken_pipe() -> int:
    reader, writer = os.pipe()
    os.close(reader)
    return writer
