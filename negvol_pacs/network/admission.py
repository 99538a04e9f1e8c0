"""Who may open an association: AE titles, address and certificate by allow-list, deny by default."""

import socket
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from negvol_pacs.config import Config, Destination, Limits, Peer, Service
from negvol_pacs.network.tls import Certificate


@dataclass(frozen=True)
class Request:
    """What an association request says, and what is known at that moment."""

    calling_ae: str
    called_ae: str
    address: str
    """Of the peer's end of the connection."""
    open_associations: int
    """Already accepted, without this one."""
    from_address: int = 0
    """How many of them from this address."""
    certificate: Certificate | None = None
    """What the peer has shown over TLS."""
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
    found = _fitting(request, config)
    if isinstance(found, Rejection):
        return found
    if not request.has_space:
        return Rejection(2, 3, 1, "no space for received objects")
    return crowded(request, config.limits)


def rights(request: Request, config: Config) -> frozenset[Service]:
    """Tell which services who is let in may use: those of any entry of ``peers`` that fits."""
    found = _fitting(request, config)
    return frozenset() if isinstance(found, Rejection) else frozenset().union(*(peer.services for peer in found))


def may_report(calling_ae: str, address: str, config: Config) -> bool:
    """Tell whether a peer is a destination, which reports on storage commitment whatever else it may do."""
    return any(d.ae_title == calling_ae.strip() and is_from(address, d, config) for d in config.archives)


def _fitting(request: Request, config: Config) -> list[Peer] | Rejection:
    """Find the entries of the allow-list that a request fits in all of title, address, certificate and called title."""
    calling_ae = request.calling_ae.strip()
    peers = [peer for peer in config.peers if peer.ae_title == calling_ae]
    if not peers and request.reports_only:
        peers = [_reporter(d, config.ae_titles) for d in config.archives if d.ae_title == calling_ae]
    if not peers:
        return Rejection(1, 1, 3, "calling AE title not allowed")
    peers = [peer for peer in peers if lies_in(request.address, peer.networks)]
    if not peers:
        return Rejection(1, 1, 3, "address not allowed for this calling AE title")
    peers = [peer for peer in peers if _shows(request.certificate, peer.certificates)]
    if not peers:
        return Rejection(1, 1, 3, "certificate not allowed for this calling AE title")
    called_ae = request.called_ae.strip()
    peers = [peer for peer in peers if called_ae in (peer.called_ae_titles or config.ae_titles)]
    return peers or Rejection(1, 1, 7, "called AE title is not this node's, or not for this peer")


def may_connect(address: str, config: Config) -> bool:
    """Tell whether anybody may open an association from this address."""
    return any(lies_in(address, peer.networks) for peer in config.peers) or any(
        is_from(address, destination, config) for destination in config.archives
    )


def is_from(address: str, destination: Destination, config: Config) -> bool:
    """Tell whether an address is a destination's: its host's, or one that its AE title may come from as a peer."""
    listed = (peer.networks for peer in config.peers if peer.ae_title == destination.ae_title)
    return any(lies_in(address, networks) for networks in listed) or _address(address) in addresses_of(destination.host)


def crowded(request: Request, limits: Limits) -> Rejection | None:
    """Decide on an association request by the number of those that are open."""
    if request.open_associations >= limits.max_associations:
        return Rejection(2, 3, 2, "too many associations")
    if request.from_address >= limits.max_associations_per_address:
        return Rejection(2, 3, 2, "too many associations from this address")
    return None


def _reporter(destination: Destination, ae_titles: tuple[str, ...]) -> Peer:
    """Return a destination as the peer that it is when it reports, from its own address."""
    return Peer(
        ae_title=destination.ae_title,
        networks=tuple(ip_network(address) for address in addresses_of(destination.host)),
        called_ae_titles=(*ae_titles, *filter(None, [destination.calling_ae_title])),
        services=frozenset({"echo"}),
    )


def addresses_of(host: str) -> set[IPv4Address | IPv6Address]:
    """Return the addresses of a configured host; none where it cannot be resolved."""
    try:
        return {_address(str(entry[4][0])) for entry in socket.getaddrinfo(host, None)}
    except (OSError, UnicodeError):  # a label that no name may have
        return set()


def lies_in(address: str, networks: Iterable[IPv4Network | IPv6Network]) -> bool:
    """Tell whether an address is one of some networks."""
    return any(_address(address) in network for network in networks)


def _shows(certificate: Certificate | None, listed: tuple[str, ...]) -> bool:
    return not listed or (certificate is not None and certificate.is_one_of(listed))


def _address(text: str) -> IPv4Address | IPv6Address:
    address = ip_address(text.partition("%")[0])
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address
