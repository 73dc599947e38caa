"""Addresses of the public network, and of hosts all of whose addresses are public.

A reference from a data set could name a host of the machine's own network: a metadata service, a router, an
administrator's page. Looking at the name does not suffice, since the owner of a name may let it point
anywhere, and somewhere else a moment later. So the addresses are looked up once, checked, and connected to as
they are.
"""

from __future__ import annotations

import ipaddress
import socket
from typing import Any

from mediaref_ursa._core.errors import InvalidReferenceError

# Networks that the ipaddress module does not call private in every version of Python.
_REFUSED_V4 = tuple(
    ipaddress.IPv4Network(network)
    for network in (
        "100.64.0.0/10",  # shared by the customers of a provider (RFC 6598); Alibaba's metadata service
        "168.63.129.16/32",  # Azure's own services, seen from its machines
        "192.0.0.0/24",  # IETF protocol assignments; Oracle's metadata service
        "192.88.99.0/24",  # relays of 6to4
        "198.18.0.0/15",  # benchmarks
    )
)
_PUBLIC_V6 = ipaddress.IPv6Network("2000::/3")  # the only block allocated for global unicast (RFC 4291, 2.4)
_REFUSED_V6 = tuple(
    ipaddress.IPv6Network(network)
    for network in (
        "2001::/23",  # Teredo and other protocol assignments
        "2001:db8::/32",  # documentation
        "3fff::/20",  # documentation
    )
)
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")  # RFC 6052
_REFUSAL = (
    "expected a host in the public network, found a private, loopback, link-local or reserved address;"
    " if you trust the reference, allow it with allow_private_hosts=True"
)


def is_public(address: str) -> bool:
    """Return whether an IP address lies in the public network, also behind an IPv4 address in an IPv6 one.

    >>> is_public("93.184.216.34"), is_public("2606:2800:220:1::1"), is_public("::ffff:93.184.216.34")
    (True, True, True)
    >>> is_public("10.0.0.1"), is_public("::ffff:127.0.0.1"), is_public("fe80::1%eth0")
    (False, False, False)
    """
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return False
    if isinstance(found, ipaddress.IPv4Address):
        return _is_public_v4(found)
    inner = _inside(found)
    if inner is not None:
        return _is_public_v4(inner)
    return (
        found in _PUBLIC_V6
        and found.is_global
        and not any(found in network for network in _REFUSED_V6)
        and _has_plain_shape(found)
    )


def _is_public_v4(address: ipaddress.IPv4Address) -> bool:
    return (
        address.is_global
        and not (address.is_private or address.is_multicast or address.is_reserved)
        and not (address.is_loopback or address.is_link_local or address.is_unspecified)
        and not any(address in network for network in _REFUSED_V4)
    )


def _inside(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    """Return the IPv4 address that a mapped, 6to4 or NAT64 address leads to."""
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour


def _has_plain_shape(address: ipaddress.IPv6Address) -> bool:
    """Return whether it is no ISATAP address (RFC 5214), which leads to any IPv4 address within a site."""
    return int(address) >> 32 & 0xFDFFFFFF != 0x00005EFE


def system_addresses(host: str, port: int) -> list[str]:
    """Return the addresses of a host by the system's resolver, in the order in which to try them."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(_with_scope(sockaddr) for *_, sockaddr in found))


def resolve(host: str, port: int) -> list[str]:
    """Return the addresses of a host that are to be checked."""
    return system_addresses(host, port)


def _with_scope(sockaddr: tuple[Any, ...]) -> str:
    """Return the address of a socket's address tuple; a link-local one with the network that it is in."""
    address = str(sockaddr[0])
    return (
        f"{address}%{sockaddr[3]}" if len(sockaddr) == 4 and sockaddr[3] and "%" not in address else address
    )


def checked_addresses(host: str, port: int) -> list[str]:
    """Return the addresses of a host in the public network.

    Raises:
        InvalidReferenceError: One of them is not there; the others are not tried then.
        OSError: The host has none.
    """
    addresses = resolve(host, port)
    if not addresses:
        raise OSError("the host has no address")
    if not all(is_public(address) for address in addresses):
        raise InvalidReferenceError(_REFUSAL)
    return addresses
