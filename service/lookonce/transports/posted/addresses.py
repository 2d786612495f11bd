"""Which addresses on the internet a stranger may make us call."""

from ipaddress import IPv4Address, IPv6Address, ip_network
from typing import Final, TypeAlias

IPAddress: TypeAlias = IPv4Address | IPv6Address

GLOBAL_UNICAST_V6: Final = ip_network("2000::/3")
NOT_PUBLIC: Final = tuple(
    ip_network(network)
    for network in (
        "100.64.0.0/10",  # carrier-grade NAT, with the metadata service of Alibaba Cloud
        "168.63.129.16/32",  # the platform's own service on Azure
        "192.0.0.0/24",  # protocol assignments, with the metadata service of Oracle Cloud
        "192.88.99.0/24",  # 6to4 relays
        "2001::/23",  # Teredo and other protocol assignments
        "2002::/16",  # 6to4, which holds any IPv4 address
        "3fff::/20",  # documentation
    )
)
"""What `ipaddress` calls global, in one Python or another, and what still leads into somebody's own network.

IPv4 addresses mapped or translated into IPv6 (::ffff:0:0/96, 64:ff9b::/96) lie outside global unicast.
"""


def is_public(address: IPAddress) -> bool:
    if isinstance(address, IPv6Address) and address not in GLOBAL_UNICAST_V6:
        return False
    if address.is_multicast or address.is_reserved or any(address in network for network in NOT_PUBLIC):
        return False
    return address.is_global
