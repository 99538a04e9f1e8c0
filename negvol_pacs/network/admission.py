"""Who may open an association: calling AE title and address by allow-list, deny by default."""

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
        With ``peers``, the allow-list; an empty one lets nobody in.

    Returns
    -------
    Rejection or None
        None where the association may be accepted.
    """
    peers = [peer for peer in config.peers if peer.ae_title == request.calling_ae.strip()]
    if not peers:
        return Rejection(1, 1, 3, "calling AE title not allowed")
    address = _address(request.address)
    if not any(address in network for peer in peers for network in peer.networks):
        return Rejection(1, 1, 3, "address not allowed for this calling AE title")
    if request.called_ae.strip() != config.node.ae_title:
        return Rejection(1, 1, 7, "called AE title is not this node's")
    if request.open_associations >= config.limits.max_associations:
        return Rejection(2, 3, 2, "too many associations")
    if not request.has_space:
        return Rejection(2, 3, 1, "no space for received objects")
    return None


def _address(text: str) -> IPv4Address | IPv6Address:
    address = ip_address(text.partition("%")[0])
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address
