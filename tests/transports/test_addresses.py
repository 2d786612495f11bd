"""Which addresses are called for a stranger, and which never are."""

import ssl
from collections.abc import Sequence
from ipaddress import ip_address

import pytest

from lookonce.errors import ImageFetchFailed
from lookonce.transports.posted.addresses import IPAddress, is_public
from lookonce.transports.posted.fetching import Fetcher

NONE = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
INSIDE = [
    "0.0.0.0",
    "10.1.2.3",
    "100.64.0.1",
    "100.100.100.200",
    "127.0.0.1",
    "127.8.8.8",
    "168.63.129.16",
    "169.254.169.254",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.192",
    "192.0.2.1",
    "192.88.99.1",
    "192.168.1.1",
    "198.18.0.1",
    "198.51.100.1",
    "203.0.113.1",
    "224.0.0.1",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::8.8.8.8",
    "::ffff:8.8.8.8",
    "::ffff:127.0.0.1",
    "64:ff9b::7f00:1",
    "64:ff9b::808:808",
    "64:ff9b:1::1",
    "100::1",
    "2001::1",
    "2001:db8::1",
    "2002:7f00:1::",
    "2002:808:808::",
    "3fff::1",
    "5f00::1",
    "fc00::1",
    "fd00:ec2::254",
    "fe80::1",
    "fe80::1%eth0",
    "fec0::1",
    "ff02::1",
]
OUTSIDE = [
    "1.1.1.1",
    "8.8.8.8",
    "93.184.216.34",
    "100.63.255.255",
    "100.128.0.0",
    "172.32.0.1",
    "2606:4700::1111",
    "2a00::1",
]


@pytest.mark.parametrize("address", INSIDE)
@pytest.mark.parametrize("beside", [[], ["8.8.8.8"]])
async def test_an_address_inside_somebody_s_network_is_never_called(address: str, beside: list[str]) -> None:
    async def resolve(_host: str, _port: int) -> Sequence[IPAddress]:
        return [ip_address(each) for each in (*beside, address)]

    assert not is_public(ip_address(address))
    with pytest.raises(ImageFetchFailed, match="not public"):
        await Fetcher(["pictures.test"], 5.0, 1000, resolve=resolve, certificates=NONE).fetch("http://pictures.test/")


@pytest.mark.parametrize("address", OUTSIDE)
def test_an_address_on_the_internet_may_be_called(address: str) -> None:
    assert is_public(ip_address(address))
