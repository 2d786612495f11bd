import grpc
import httpx
import pytest
from grpc.aio import Metadata
from hypothesis import given
from hypothesis import strategies as st
from starlette.datastructures import Headers, QueryParams

from lookonce.errors import Unauthenticated
from lookonce.transports.credentials import key_from_headers, key_from_metadata, key_from_query, the_one_key

HEADERS: tuple[tuple[dict[str, str], str | None], ...] = (
    ({}, None),
    ({"Authorization": "Bearer lo_1"}, "lo_1"),
    ({"authorization": "bearer lo_1"}, "lo_1"),
    ({"AUTHORIZATION": "  BEARER   lo_1  "}, "lo_1"),
    ({"X-API-Key": "lo_1"}, "lo_1"),
    ({"x-api-key": " lo_1 "}, "lo_1"),
    ({"Authorization": "Bearer lo_1", "X-API-Key": "lo_1"}, "lo_1"),
    ({"Authorization": "Bearer", "X-API-Key": "lo_1"}, "lo_1"),
    ({"Authorization": "Bearer lo_1", "X-API-Key": ""}, "lo_1"),
    ({"Authorization": "Basic bG86MQ==", "X-API-Key": "lo_1"}, "lo_1"),
    ({"Authorization": "Basic bG86MQ=="}, None),
    ({"Authorization": "lo_1"}, None),
    ({"Authorization": ""}, None),
    ({"Authorization": "Bearer "}, None),
    ({"X-API-Key": " "}, None),
    ({"Authorization": "Bearer two words"}, "two words"),
    ({"Cookie": "x-api-key=lo_1"}, None),
)


@pytest.mark.parametrize(("headers", "key"), HEADERS, ids=str)
def test_a_key_stands_in_one_of_two_headers(headers: dict[str, str], key: str | None) -> None:
    assert key_from_headers(Headers(headers)) == key
    assert key_from_metadata([(name.lower(), value) for name, value in headers.items()]) == key


def test_two_keys_that_differ_are_nobody_s() -> None:
    with pytest.raises(Unauthenticated, match="two keys that differ") as refused:
        key_from_headers(Headers({"Authorization": "Bearer lo_1", "X-API-Key": "lo_2"}))
    assert "lo_" not in str(refused.value)


@pytest.mark.parametrize(
    "metadata",
    [
        [("authorization", "Bearer lo_1"), ("x-api-key", "lo_2")],
        [("authorization", "Bearer lo_1"), ("authorization", "Bearer lo_2")],
        [("x-api-key", "lo_1"), ("x-api-key", "lo_2")],
    ],
)
def test_metadata_may_say_the_same_twice_but_not_two_things(metadata: list[tuple[str, str]]) -> None:
    with pytest.raises(Unauthenticated):
        key_from_metadata(metadata)
    assert key_from_metadata([metadata[0], metadata[0]]) == "lo_1"


def test_binary_metadata_is_no_key() -> None:
    assert key_from_metadata([("x-api-key", b"lo_1"), ("x-api-key-bin", b"lo_2")]) is None
    assert key_from_metadata(Metadata()) is None


async def test_grpc_s_own_metadata_is_read() -> None:
    """As a server is handed it, after a real call."""
    found = list[str | None]()

    async def note(_request: bytes, context: grpc.aio.ServicerContext) -> bytes:
        found.append(key_from_metadata(context.invocation_metadata() or ()))
        return b""

    server = grpc.aio.server()
    door = grpc.method_handlers_generic_handler("a.B", {"C": grpc.unary_unary_rpc_method_handler(note)})
    server.add_generic_rpc_handlers((door,))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        ask = channel.unary_unary("/a.B/C")
        for metadata in ((("authorization", "Bearer lo_1"), ("thing-bin", b"\xff")), (("x-api-key", "lo_2"),), ()):
            await ask(b"", metadata=metadata, timeout=20)
    await server.stop(0)
    assert found == ["lo_1", "lo_2", None]


QUERIES = (("", None), ("api_key=", None), ("api_key=lo_1", "lo_1"), ("API_KEY=lo_1", None), ("x-api-key=lo_1", None))


@pytest.mark.parametrize(("query", "key"), QUERIES)
def test_a_compatible_route_takes_the_key_in_its_url(query: str, key: str | None) -> None:
    assert key_from_query(QueryParams(query)) == key


def test_nothing_agrees_with_everything() -> None:
    assert the_one_key() is None
    assert the_one_key(None, "", " ") is None
    assert the_one_key(None, "lo_1", "", "lo_1 ") == "lo_1"


@given(st.text(max_size=50), st.text(max_size=50))
def test_whatever_is_sent_is_a_key_or_a_refusal(authorization: str, api_key: str) -> None:
    headers = httpx.Headers({"authorization": authorization.encode(), "x-api-key": api_key.encode()})
    try:
        key = key_from_headers(headers)
    except Unauthenticated:
        return
    assert key is None or key.strip() == key != ""
