"""Who may open an association: calling AE title and address by allow-list, deny by default."""

import socket
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address

from negvol_pacs.config import Config


@dataclass(frozen=True)
class Request:
    """What an association request says, and what is known at that moment."""

    calling_ae: str
    called_ae: str
    address: str
    """Of the peer's end of the connection."""
    open_associations: int
    """Already accepted, without this one."""
    reports_only: bool = False
    """Whether nothing but storage commitment is proposed."""
    has_space: bool = True
    """Whether objects can be received; False for a request to store when the disk is full."""


@dataclass(frozen=True)
class Rejection:
    """An A-ASSOCIATE-RJ (PS3.8 section 9.3.4), and the reason for the log."""

    result: int
    source: int
    diagnostic: int
    reason: str


def admit(request: Request, config: Config) -> Rejection | None:
    """Decide on an association request.

    Parameters
    ----------
    request
        What the peer asks.
    config
        With ``peers``, the allow-list; an empty one lets nobody in but the destinations, which
        may report about storage commitment, from their own address and nothing else.

    Returns
    -------
    Rejection or None
        None where the association may be accepted.
    """
    calling_ae = request.calling_ae.strip()
    peers = [peer for peer in config.peers if peer.ae_title == calling_ae]
    reporters = [d for d in config.archives if request.reports_only and d.ae_title == calling_ae]
    if not peers and not reporters:
        return Rejection(1, 1, 3, "calling AE title not allowed")
    address = _address(request.address)
    listed = any(address in network for peer in peers for network in peer.networks)
    if not listed and not any(address in _addresses(reporter.host) for reporter in reporters):
        return Rejection(1, 1, 3, "address not allowed for this calling AE title")
    called_ae = {config.node.ae_title, *(d.calling_ae_title for d in reporters)}
    if request.called_ae.strip() not in called_ae:
        return Rejection(1, 1, 7, "called AE title is not this node's")
    if request.open_associations >= config.limits.max_associations:
        return Rejection(2, 3, 2, "too many associations")
    if not request.has_space:
        return Rejection(2, 3, 1, "no space for received objects")
    return None


def _addresses(host: str) -> set[IPv4Address | IPv6Address]:
    """Return the addresses of a configured host; none where it cannot be resolved."""
    try:
        return {_address(str(entry[4][0])) for entry in socket.getaddrinfo(host, None)}
    except OSError:
        return set()


def _address(text: str) -> IPv4Address | IPv6Address:
    address = ip_address(text.partition("%")[0])
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address
