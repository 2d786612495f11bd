"""Pictures that a caller names by URL: fetched from allowed hosts alone, at an address that was looked at first."""

import asyncio
import re
import socket
import ssl
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Final, TypeAlias

import httpx

from lookonce.errors import ImageFetchFailed, ImageTooLarge, SettingsRefused
from lookonce.transports.posted.addresses import IPAddress, is_public

PORTS: Final = {"http": 80, "https": 443}
MAX_URL_CHARACTERS: Final = 4096
_HEADERS: Final = {"Accept": "image/*", "Accept-Encoding": "identity", "Connection": "close", "User-Agent": "lookonce"}
_ENTRY: Final = re.compile(r"((\*\.)?[\w-]+(\.[\w-]+)*|\[[0-9a-f:.]+\])(:\d{1,5})?", re.ASCII | re.IGNORECASE)

Resolve: TypeAlias = Callable[[str, int], Awaitable[Sequence[IPAddress]]]


async def resolve(host: str, port: int) -> Sequence[IPAddress]:
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [ip_address(sockaddr[0]) for *_, sockaddr in found]


@dataclass(frozen=True, slots=True)
class Fetcher:
    """`hosts`: example.com, *.example.com (all below it), or either with a :port; without one, 80 and 443 are meant."""

    hosts: Sequence[str]
    timeout_s: float
    max_bytes: int
    allows: Callable[[IPAddress], bool] = is_public
    resolve: Resolve = resolve
    certificates: ssl.SSLContext = field(default_factory=httpx.create_ssl_context)

    def __post_init__(self) -> None:
        for entry in self.hosts:
            if not _ENTRY.fullmatch(entry):
                raise SettingsRefused(
                    f"LOOKONCE_URLS__HOSTS: {entry!r} is no host; write example.com, *.example.com or example.com:8080."
                )

    async def fetch(self, url: str) -> bytes:
        """The bytes behind the URL. Raises ImageFetchFailed and ImageTooLarge."""
        target = _target_of(url)
        self._refuse_host(target)
        try:
            async with asyncio.timeout(self.timeout_s):
                return await self._fetch(target, await self._addresses(target))
        except TimeoutError:
            raise _failed(target, f"took longer than {self.timeout_s:g} s") from None
        except httpx.HTTPError as error:
            raise _failed(target, "broke off, or spoke no HTTP") from error

    def _refuse_host(self, target: httpx.URL) -> None:
        host, port = _host_of(target), _port_of(target)
        spellings = [f"{host}:{port}", *([host] if port in PORTS.values() else [])]
        if not any(_matches(spelling, entry.lower()) for spelling in spellings for entry in self.hosts):
            raise _failed(target, f"(port {port}) is no host that LOOKONCE_URLS__HOSTS allows")

    async def _addresses(self, target: httpx.URL) -> Sequence[IPAddress]:
        """Looked up once, and judged all: one that leads inside is reason enough to call none."""
        try:
            addresses = await self.resolve(target.raw_host.decode(), _port_of(target))
        except (OSError, UnicodeError) as error:
            raise _failed(target, "has no address") from error
        if not addresses or not all(map(self.allows, addresses)):
            raise _failed(target, "has an address that is not public")
        return addresses

    async def _fetch(self, target: httpx.URL, addresses: Sequence[IPAddress]) -> bytes:
        transport = httpx.AsyncHTTPTransport(verify=self.certificates, trust_env=False)
        async with httpx.AsyncClient(transport=transport, trust_env=False, timeout=None) as client:  # noqa: S113
            for address in addresses:
                with suppress(httpx.ConnectError):
                    return await self._read(client, target, address)
        raise _failed(target, "cannot be reached, or its certificate is not good")

    async def _read(self, client: httpx.AsyncClient, target: httpx.URL, address: IPAddress) -> bytes:
        """Connected to the address; the name stays in the Host header, and in what the certificate must say."""
        pinned = target.copy_with(host=str(address))
        headers = {**_HEADERS, "Host": target.netloc.decode()}
        names = {"sni_hostname": target.raw_host.decode()}
        async with client.stream("GET", pinned, headers=headers, extensions=names, follow_redirects=False) as response:
            _refuse_response(target, response)
            body = bytearray()
            async for chunk in response.aiter_raw():
                body += chunk
                if len(body) > self.max_bytes:
                    raise ImageTooLarge(
                        f"what {target.host} sent has more than the {self.max_bytes} bytes that are taken; "
                        "name a smaller picture."
                    )
        return bytes(body)


def _target_of(url: str) -> httpx.URL:
    if len(url) > MAX_URL_CHARACTERS:
        raise ImageFetchFailed(f"the URL has more than {MAX_URL_CHARACTERS} characters; name a shorter one.")
    try:
        target = httpx.URL(url)
        host = target.host  # an xn--… that stands for no name shows only here
    except (httpx.InvalidURL, UnicodeError) as error:
        raise ImageFetchFailed("this is no URL; write https://host/path.") from error
    if target.scheme not in PORTS or not host:
        raise ImageFetchFailed("only http and https are fetched; write https://host/path.")
    if host.startswith("."):
        raise ImageFetchFailed("the name of the host begins with a dot; write https://host/path.")
    if target.userinfo:
        raise ImageFetchFailed("the URL holds a user name, and nobody is logged in for a picture; leave it away.")
    return target


def _refuse_response(target: httpx.URL, response: httpx.Response) -> None:
    if response.is_redirect:
        raise _failed(target, "points elsewhere (a redirect), which is not followed")
    if response.status_code != httpx.codes.OK:
        raise _failed(target, f"answered {response.status_code}")
    if response.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise _failed(target, "sent the picture compressed, which was not asked for")


def _failed(target: httpx.URL, what: str) -> ImageFetchFailed:
    return ImageFetchFailed(f"{target.host[:80]} {what}; send the picture itself.")


def _matches(spelling: str, entry: str) -> bool:
    return spelling.endswith(entry[1:]) if entry.startswith("*.") else spelling == entry


def _host_of(target: httpx.URL) -> str:
    host = target.raw_host.decode().lower()
    return f"[{host}]" if ":" in host else host


def _port_of(target: httpx.URL) -> int:
    return target.port or PORTS[target.scheme]
