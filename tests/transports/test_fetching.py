"""Pictures by URL: from whom they are fetched, and from whom they never are."""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.transports.posting import BOUNDS, application, serving, shown
from tests.waiting import until

from lookonce.errors import ImageFetchFailed, ImageTooLarge, SettingsRefused
from lookonce.transports.http.gone import CallerGone
from lookonce.transports.posted.addresses import IPAddress
from lookonce.transports.posted.bodies import Reading
from lookonce.transports.posted.fetching import Fetcher, Resolve

HOST = "pictures.test"
NONE = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""Knows no certificates, which takes no time to load."""
GOOD = b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\npicture"
LOOPBACK = ip_address("127.0.0.1")


class Origin:
    """A host that answers every request alike, piece by piece, and writes down what it was asked."""

    def __init__(self, pieces: Iterable[bytes | float]) -> None:
        self.pieces = list(pieces)
        self.asked: list[bytes] = []
        self.port = 0

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            self.asked.append(await reader.readuntil(b"\r\n\r\n"))
            for piece in self.pieces:
                if isinstance(piece, float):
                    await asyncio.sleep(piece)
                    continue
                writer.write(piece)
                await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def origin(*pieces: bytes | float, tls: ssl.SSLContext | None = None) -> AsyncIterator[Origin]:
    host = Origin(pieces or [GOOD])
    server = await asyncio.start_server(host.answer, "127.0.0.1", 0, ssl=tls)
    host.port = server.sockets[0].getsockname()[1]
    try:
        yield host
    finally:
        server.close()


def finds(*addresses: str) -> Resolve:
    async def resolve(_host: str, _port: int) -> Sequence[IPAddress]:
        return [ip_address(address) for address in addresses]

    return resolve


def fetcher_for(*hosts: str, timeout_s: float = 5.0, max_bytes: int = 1000, **more: object) -> Fetcher:
    """One that may call this machine, and finds every name here."""
    given = {"allows": lambda address: address.is_loopback, "resolve": finds("127.0.0.1"), "certificates": NONE}
    return Fetcher(hosts, timeout_s, max_bytes, **{**given, **more})


async def refusal(fetcher: Fetcher, url: str) -> str:
    with pytest.raises(ImageFetchFailed) as refused:
        await fetcher.fetch(url)
    said = str(refused.value)
    assert said.endswith(".")
    assert "secret" not in said
    return said


async def test_a_picture_is_fetched_under_its_own_name() -> None:
    async with origin() as host:
        url = f"http://{HOST}:{host.port}/a/b.jpg?token=secret"
        assert await fetcher_for(f"{HOST}:{host.port}").fetch(url) == b"picture"
    (asked,) = host.asked
    lines = asked.split(b"\r\n")
    assert lines[0] == b"GET /a/b.jpg?token=secret HTTP/1.1"
    assert f"Host: {HOST}:{host.port}".encode() in lines
    assert b"Accept-Encoding: identity" in lines
    assert not [line for line in lines if line.lower().startswith((b"cookie", b"authorization", b"referer"))]


async def test_the_body_may_end_with_the_connection_or_come_in_chunks() -> None:
    for pieces in (
        [b"HTTP/1.1 200 OK\r\n\r\npic", b"ture"],
        [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\npic\r\n", b"4\r\nture\r\n0\r\n\r\n"],
    ):
        async with origin(*pieces) as host:
            assert await fetcher_for(f"{HOST}:{host.port}").fetch(f"http://{HOST}:{host.port}/") == b"picture"


@pytest.mark.parametrize(
    ("entry", "url", "is_allowed"),
    [
        ("example.com", "http://example.com/a", True),
        ("example.com", "HTTPS://EXAMPLE.COM/a", True),
        ("Example.com", "https://example.com:443/a", True),
        ("example.com", "https://example.com:80/a", True),
        ("example.com", "http://example.com:8080/a", False),
        ("example.com", "http://www.example.com/a", False),
        ("example.com", "http://example.com.evil.org/a", False),
        ("example.com", "http://evil.org/example.com", False),
        ("example.com", "http://evil.org#example.com", False),
        ("example.com", "http://evil.org?@example.com", False),
        ("example.com", "http://evil.org\\@example.com/", False),
        ("example.com", "http://example.com./a", False),
        ("example.com", "http://evilexample.com/", False),
        ("example.com", "http://exampl%65.com/", False),
        ("example.com", "http://ｅxample.com/", False),
        ("example.com:8080", "http://example.com:8080/a", True),
        ("example.com:8080", "http://example.com/a", False),
        ("*.example.com", "http://a.b.example.com/a", True),
        ("*.example.com", "http://example.com/a", False),
        ("*.example.com", "http://evilexample.com/a", False),
        ("*.example.com:8443", "https://a.example.com:8443/a", True),
        ("*.example.com:8443", "https://a.example.com/a", False),
        ("xn--exmple-cua.com", "http://exämple.com/", True),
        ("[2606:4700::1111]", "http://[2606:4700::1111]/", True),
        ("[2606:4700::1111]:8080", "http://[2606:4700::1111]:8080/", True),
    ],
)
async def test_only_hosts_that_are_named_are_even_looked_up(entry: str, url: str, is_allowed: bool) -> None:
    looked_up: list[str] = []

    async def resolve(host: str, _port: int) -> Sequence[IPAddress]:
        looked_up.append(host)
        return [ip_address("10.0.0.1")]

    said = await refusal(Fetcher([entry], 5.0, 1000, resolve=resolve, certificates=NONE), url)
    assert bool(looked_up) == is_allowed
    assert ("not public" in said) == is_allowed


@pytest.mark.parametrize("entry", ["", "*", "*.", "https://example.com", "example.com/", "a b", "ex*mple.com", "é.com"])
def test_an_entry_that_is_no_host_is_refused_from_the_start(entry: str) -> None:
    with pytest.raises(SettingsRefused, match="LOOKONCE_URLS__HOSTS"):
        Fetcher([entry], 5.0, 1000)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("", "only http and https"),
        ("pictures.test/a.jpg", "only http and https"),
        ("//pictures.test/a.jpg", "only http and https"),
        ("http:///a.jpg", "only http and https"),
        ("file:///etc/passwd", "only http and https"),
        ("ftp://pictures.test/a.jpg", "only http and https"),
        ("gopher://pictures.test/", "only http and https"),
        ("data:image/png;base64,QUJD", "only http and https"),
        ("http://me:secret@pictures.test/", "holds a user name"),
        ("http://me@pictures.test/", "holds a user name"),
        ("http://pictures.test:port/", "this is no URL"),
        ("http://[::1/", "this is no URL"),
        ("http://pictures.test/\x00", "this is no URL"),
        ("http://pictures.test/a\r\nHost: b", "this is no URL"),
        ("http://" + "a" * 70 + "é.test/", "this is no URL"),
        ("http://xn--a.pictures.test/", "this is no URL"),
        ("http://xn--/", "this is no URL"),
        ("http://pictures.test/" + "a" * 5000, "more than 4096 characters"),
    ],
)
async def test_what_is_no_address_of_a_picture_is_refused(url: str, words: str) -> None:
    assert words in await refusal(fetcher_for(HOST), url)


@settings(deadline=None)
@given(url=st.text() | st.text().map("http://pictures.test/{}".format) | st.text(max_size=20).map("http://{}/".format))
async def test_no_text_whatever_breaks_the_fetcher(url: str) -> None:
    with pytest.raises(ImageFetchFailed):
        await Fetcher([HOST], 5.0, 1000, resolve=finds("10.0.0.1"), certificates=NONE).fetch(url)


@pytest.mark.parametrize(
    ("host", "entry"),
    [
        ("127.0.0.1", "127.0.0.1"),
        ("localhost", "localhost"),
        ("[::1]", "[::1]"),
        ("[::ffff:127.0.0.1]", "[::ffff:127.0.0.1]"),
        ("127.1", "127.1"),
        ("2130706433", "2130706433"),
        ("0x7f.0.0.1", "0x7f.0.0.1"),
        ("0", "0"),
    ],
)
async def test_this_machine_is_not_called_however_it_is_spelled_even_when_it_is_listed(host: str, entry: str) -> None:
    said = await refusal(Fetcher([entry], 5.0, 1000), f"http://{host}/")
    assert "not public" in said or "no address" in said


async def test_a_name_that_points_elsewhere_the_second_time_gains_nothing() -> None:
    """DNS rebinding: it is looked up once, and what was judged is what is called."""
    async with origin() as host:
        answers = [[LOOPBACK], [ip_address("127.0.0.2")]]

        async def resolve(_host: str, _port: int) -> Sequence[IPAddress]:
            return answers.pop(0)

        fetcher = fetcher_for(f"{HOST}:{host.port}", resolve=resolve, allows=LOOPBACK.__eq__)
        assert await fetcher.fetch(f"http://{HOST}:{host.port}/") == b"picture"
        assert len(answers) == 1
        assert "not public" in await refusal(fetcher, f"http://{HOST}:{host.port}/")
    assert len(host.asked) == 1


async def test_the_next_address_is_called_when_one_does_not_answer() -> None:
    async with origin() as host:
        fetcher = fetcher_for(f"{HOST}:{host.port}", resolve=finds("127.0.0.3", "127.0.0.1"))
        assert await fetcher.fetch(f"http://{HOST}:{host.port}/") == b"picture"


async def test_a_host_without_an_address_or_without_a_server_is_named(free_ports: Callable[[], object]) -> None:
    async def nothing(_host: str, _port: int) -> Sequence[IPAddress]:
        raise OSError("no such name")

    assert f"{HOST} has no address" in await refusal(fetcher_for(HOST, resolve=nothing), f"http://{HOST}/")
    assert "not public" in await refusal(fetcher_for(HOST, resolve=finds()), f"http://{HOST}/")
    port = free_ports().http
    assert f"{HOST} cannot be reached" in await refusal(fetcher_for(f"{HOST}:{port}"), f"http://{HOST}:{port}/")


async def test_a_name_that_cannot_be_looked_up_has_no_address() -> None:
    assert "has no address" in await refusal(Fetcher(["*.test"], 5.0, 1000), "http://" + "a" * 64 + ".test/")


ANSWERS: dict[str, tuple[list[bytes | float], str]] = {
    "a redirect": ([b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1/\r\nContent-Length: 0\r\n\r\n"], "a redirect"),
    "not found": ([b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"], "answered 404"),
    "no content": ([b"HTTP/1.1 204 No Content\r\n\r\n"], "answered 204"),
    "compressed": ([b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 1\r\n\r\nx"], "compressed"),
    "no HTTP": ([b"SSH-2.0-OpenSSH_9.6\r\n"], "spoke no HTTP"),
    "nothing": ([b""], "broke off"),
    "half of it": ([b"HTTP/1.1 200 OK\r\nContent-Length: 70\r\n\r\npicture"], "broke off"),
    "endless headers": ([b"HTTP/1.1 200 OK\r\n", b"A: " + b"b" * 300_000], "broke off"),
    "nothing for long": ([30.0], "took longer than 0.5 s"),
    "a byte now and then": ([b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n", *[b"x", 0.05] * 60], "took longer"),
}


@pytest.mark.parametrize("what", ANSWERS)
async def test_an_answer_that_is_no_picture_fails_with_the_reason(what: str) -> None:
    pieces, words = ANSWERS[what]
    async with origin(*pieces) as host:
        fetcher = fetcher_for(f"{HOST}:{host.port}", timeout_s=0.5 if "longer" in words else 20.0)
        assert words in await refusal(fetcher, f"http://{HOST}:{host.port}/?token=secret")
    assert len(host.asked) == 1


@pytest.mark.parametrize("head", [b"Content-Length: 1000000\r\n", b""])
async def test_a_picture_too_large_is_left_off_where_the_limit_is(head: bytes) -> None:
    async with origin(b"HTTP/1.1 200 OK\r\n" + head + b"\r\n", *[bytes(10_000)] * 100) as host:
        with pytest.raises(ImageTooLarge, match="more than the 1000 bytes"):
            await fetcher_for(f"{HOST}:{host.port}").fetch(f"http://{HOST}:{host.port}/")


async def test_a_proxy_in_the_environment_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    async with origin() as proxy, origin() as host:
        for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        await fetcher_for(f"{HOST}:{host.port}").fetch(f"http://{HOST}:{host.port}/")
    assert (len(proxy.asked), len(host.asked)) == (0, 1)


def certificate(folder: Path, name: str) -> ssl.SSLContext:
    """A server's side of TLS, for a name, signed by itself; `folder` holds what vouches for it."""
    key, whose = ec.generate_private_key(ec.SECP256R1()), x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    signed = (
        x509.CertificateBuilder(
            whose, whose, key.public_key(), x509.random_serial_number(), now, now + timedelta(days=1)
        )
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    (folder / "cert.pem").write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    return context


async def test_over_tls_the_certificate_must_be_good_and_for_that_name(tmp_path: Path) -> None:
    async with origin(tls=certificate(tmp_path, HOST)) as host:
        trusting = ssl.create_default_context(cafile=tmp_path / "cert.pem")
        fetcher = fetcher_for(f"{HOST}:{host.port}", f"other.test:{host.port}", certificates=trusting)
        url = f"https://{HOST}:{host.port}/"
        assert await fetcher.fetch(url) == b"picture"
        assert "certificate" in await refusal(fetcher, f"https://other.test:{host.port}/")
        assert "certificate" in await refusal(replace(fetcher, certificates=httpx.create_ssl_context()), url)
    assert len(host.asked) == 1


async def test_pictures_by_url_stand_in_their_place_among_the_others() -> None:
    async with origin() as host:
        reading = Reading(BOUNDS, 10.0, fetcher_for(f"{HOST}:{host.port}"))
        images = [{"url": f"http://{HOST}:{host.port}/"}, {"base64": "QUJD"}, {"url": "http://evil.test/"}]
        images.append({"url": "http://xn--a.evil.test/"})
        async with serving(application(reading, [])) as port, httpx.AsyncClient() as client:
            answer = await client.post(f"http://127.0.0.1:{port}/", json={"images": images})
    first, second, third, fourth = answer.json()["pictures"]
    assert (first, second) == (shown(b"picture"), shown(b"ABC"))
    assert fourth["detail"] == "images[3].url: this is no URL; write https://host/path."
    assert third["code"] == "image-fetch-failed"
    assert third["detail"].startswith("images[2].url: evil.test (port 80) is no host")


async def test_a_caller_that_hangs_up_ends_what_is_fetched_for_it() -> None:
    seen: list[BaseException] = []
    async with origin(30.0) as host:
        reading = Reading(BOUNDS, 10.0, fetcher_for(f"{HOST}:{host.port}", timeout_s=30.0))
        async with serving(application(reading, seen)) as port:
            body = json.dumps({"images": [{"url": f"http://{HOST}:{host.port}/"}]}).encode()
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            head = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
            writer.write(head % len(body) + body)
            await until(lambda: bool(host.asked))
            writer.transport.abort()
            await until(lambda: bool(seen))
    assert isinstance(seen[0], CallerGone)
