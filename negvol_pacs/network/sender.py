"""The store SCU: results to their destinations, and C-ECHO (PS3.4 annexes A and B)."""

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError
from pydicom.misc import is_dicom
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian, RLELossless
from pynetdicom import AE, build_role, evt
from pynetdicom.association import Association
from pynetdicom.sop_class import Verification

from negvol_pacs.config import Config, Destination, Limits
from negvol_pacs.errors import ConfigError, DeliveryFailed, DeliveryRefused, NotOffered, PeerUnreachable
from negvol_pacs.network.audit.messages import Party
from negvol_pacs.network.audit.trail import Transfers
from negvol_pacs.network.checkpoint import Checkpoint
from negvol_pacs.network.guards import GuardedSocket
from negvol_pacs.network.provider import BoundedProvider
from negvol_pacs.network.tls import client_context
from negvol_pacs.storage.inbox import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME

_UNCOMPRESSED = (ExplicitVRLittleEndian, ImplicitVRLittleEndian)
_WARNINGS = frozenset({0x0001, 0x0107, 0x0116}) | frozenset(range(0xB000, 0xC000))
_ALREADY_THERE = 0x0111
_PASSING = frozenset({0x0110, 0x0213}) | frozenset(range(0xA700, 0xA800))
"""Processing failure, resource limitation, out of resources: may pass."""
_TRANSIENT = 0x02
_MAX_ANSWERS = 64 << 20
"""Bytes that a peer may answer: in one message, and over one association that brings no objects."""

_log = structlog.get_logger()


@dataclass(frozen=True)
class Sent:
    """An object that the destination has taken."""

    sop_uid: str
    status: int
    """0x0000, or a warning."""


def send(
    paths: Iterable[Path],
    destination: Destination,
    config: Config | None = None,
    on_sent: Callable[[Sent], None] | None = None,
) -> list[Sent]:
    """Send DICOM files by C-STORE over one association, or by STOW-RS.

    Parameters
    ----------
    paths
        Files to send, in this order; the first failure ends it. Sending again what the
        destination already has is harmless.
    destination
        Where to.
    config
        Own AE title and time limits.
    on_sent
        Called after each object.

    Returns
    -------
    list of Sent
        All of them.

    Raises
    ------
    PeerUnreachable
        No association: not reachable, no answer, or a rejection that may pass.
    DeliveryFailed
        The association was lost, or a status that may pass (A7xx).
    DeliveryRefused
        A rejection that will not pass, a SOP class that is not accepted, or any other status.
    """
    if destination.kind == "dicomweb":
        from negvol_pacs.network import stow

        return stow.send(paths, destination, on_sent)
    files = list(paths)
    headers = [_header(path) for path in files]
    wanted = {(header.MediaStorageSOPClassUID, header.TransferSyntaxUID) for header in headers}
    contexts = [(uid, syntax) for uid, own in sorted(wanted) for syntax in _syntaxes(own)]
    sent = []
    peer = Party(destination.ae_title, destination.host)
    with (
        associated(destination, config or Config(), contexts) as assoc,
        Transfers(peer, received=False) as transfers,
    ):
        for path, header in zip(files, headers, strict=True):
            study = transfers.begin_with(path)
            sent.append(_store(assoc, path, header, destination))
            transfers.add(study, header.MediaStorageSOPClassUID)
            if on_sent is not None:
                on_sent(sent[-1])
    return sent


def send_folder(
    folder: Path,
    destination: Destination,
    config: Config | None = None,
    on_sent: Callable[[Sent], None] | None = None,
) -> list[Sent]:
    """Send every DICOM file below a folder, in the order of names: see `send`."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and is_dicom(path))
    return send(files, destination, config, on_sent)


def echo(destination: Destination, config: Config | None = None) -> float:
    """Ask a destination whether it is there (C-ECHO, or a query by QIDO-RS).

    Returns
    -------
    float
        Seconds until the answer, with the association.

    Raises
    ------
    NetworkError
        As for `send`.
    """
    start = time.monotonic()
    if destination.kind == "dicomweb":
        from negvol_pacs.network import stow

        stow.echo(destination)
        return time.monotonic() - start
    with associated(destination, config or Config(), [(Verification, ImplicitVRLittleEndian)]) as assoc:
        if not assoc.accepted_contexts:
            raise DeliveryRefused(f"{destination.name} does not accept verification")
        status = assoc.send_c_echo()
    if status.get("Status") != 0x0000:
        raise DeliveryFailed(f"{destination.name} did not answer the C-ECHO with success")
    return time.monotonic() - start


def may_pass(status: int) -> bool:
    """Tell whether to send an object again may help, after this failure status."""
    return status in _PASSING


class _Entity(AE):  # type: ignore[misc]
    """An application entity that is as careful with answers as the listener with requests."""

    def __init__(self, ae_title: str, limits: Limits) -> None:
        super().__init__(ae_title)
        self._guard_limits = limits

    def _create_socket(self, *arguments: Any) -> GuardedSocket:
        return GuardedSocket(super()._create_socket(*arguments), self._guard_limits)


def _header(path: Path) -> Dataset:
    try:
        return dcmread(path, stop_before_pixels=True, specific_tags=["SOPClassUID"]).file_meta
    except (OSError, InvalidDicomError) as error:
        raise DeliveryRefused(f"{path.name} cannot be read: {error}") from error


def _syntaxes(own: str) -> tuple[str, ...]:
    """Return the transfer syntaxes to offer: an object without compression, or with one undone, may go as another."""
    if own == RLELossless:
        return (own, *_UNCOMPRESSED)
    return _UNCOMPRESSED if own in _UNCOMPRESSED else (own,)


@contextmanager
def associated(
    destination: Destination,
    config: Config,
    contexts: Iterable[tuple[str, str]],
    taken: Iterable[str] = (),
    on_store: Callable[[evt.Event], int] | None = None,
    *,
    on_report: Callable[[evt.Event], tuple[int, None]] | None = None,
) -> Iterator[Association]:
    """Open an association with a destination, released at the end of the block.

    Parameters
    ----------
    destination
        The peer.
    config
        Own AE title and time limits.
    contexts
        Abstract and transfer syntaxes to propose.
    taken
        SOP classes that we store for the peer, as C-GET needs it (PS3.7 section D.3.3.4).
    on_store
        Handler of their C-STORE requests.
    on_report
        Handler of the peer's N-EVENT-REPORT requests.

    Raises
    ------
    NetworkError
        As for `send`.
    """
    ae = _Entity(destination.calling_ae_title or config.node.ae_title, config.limits)
    ae.implementation_class_uid = IMPLEMENTATION_CLASS_UID
    ae.implementation_version_name = IMPLEMENTATION_VERSION_NAME
    limits = config.limits
    ae.connection_timeout = ae.acse_timeout = limits.association_timeout_s
    ae.dimse_timeout = ae.network_timeout = limits.network_timeout_s
    ae.maximum_pdu_size = limits.max_pdu_bytes
    for uid, syntax in contexts:
        ae.add_requested_context(uid, syntax)
    handlers: list[Any] = [(evt.EVT_CONN_OPEN, _prepare, [limits, on_store is not None])]
    if on_store is not None:
        handlers.append((evt.EVT_C_STORE, on_store))
    if on_report is not None:
        handlers.append((evt.EVT_N_EVENT_REPORT, on_report))
    try:
        context = client_context(destination)
        assoc = ae.associate(
            destination.host,
            destination.port,
            ae_title=destination.ae_title,
            ext_neg=[build_role(uid, scp_role=True) for uid in taken],
            evt_handlers=handlers,
            tls_args=None if context is None else (context, destination.host),
        )
    except (OSError, ConfigError) as error:
        raise PeerUnreachable(f"{destination.name} cannot be reached: {error}") from error
    if not assoc.is_established:
        raise _not_associated(assoc, destination, context.failure if context is not None else "")
    try:
        yield assoc
    except BaseException:
        assoc.abort()
        raise
    assoc.release()


def _prepare(event: evt.Event, limits: Limits, objects: bool) -> None:
    event.assoc._reactor_checkpoint = Checkpoint()
    event.assoc.dimse = bounded(event.assoc, limits, objects=objects)


def bounded(assoc: Association, limits: Limits, *, objects: bool) -> BoundedProvider:
    """Return what puts messages of a destination together; ``objects``: it sends some, which are kept on disk."""
    return BoundedProvider(assoc, limits, _MAX_ANSWERS, limits.max_object_bytes if objects else _MAX_ANSWERS)


def _not_associated(assoc: Association, destination: Destination, failure: str) -> Exception:
    if assoc.rejected_contexts:
        names = ", ".join(sorted({context.abstract_syntax.name for context in assoc.rejected_contexts}))
        return NotOffered(f"{destination.name} does not accept {names}")
    if not assoc.is_rejected:
        reason = failure or assoc.dul.socket.failure
        return PeerUnreachable(f"{destination.name} cannot be reached{': ' if reason else ''}{reason}")
    answer = assoc.acceptor.primitive
    sentence = f"{destination.name} rejects the association: {answer.reason_str}"
    return PeerUnreachable(sentence) if answer.result == _TRANSIENT else DeliveryRefused(sentence)


def _acceptable(path: Path, header: Dataset, assoc: Association) -> Path | Dataset:
    """Return the file, or the same object without its run-length encoding where the peer takes none."""
    accepted = (cx for cx in assoc.accepted_contexts if cx.abstract_syntax == header.MediaStorageSOPClassUID)
    taken = {context.transfer_syntax[0] for context in accepted}
    if header.TransferSyntaxUID != RLELossless or RLELossless in taken or not taken:
        return path
    ds = dcmread(path)
    ds.decompress(generate_instance_uid=False)  # the same values
    return ds


def _store(assoc: Association, path: Path, header: Dataset, destination: Destination) -> Sent:
    sop_uid = str(header.MediaStorageSOPInstanceUID)
    try:
        answer = assoc.send_c_store(_acceptable(path, header, assoc))
    except ValueError as error:  # no accepted presentation context
        raise DeliveryRefused(f"{destination.name} does not accept {header.MediaStorageSOPClassUID.name}") from error
    except (OSError, RuntimeError) as error:
        raise DeliveryFailed(f"the association with {destination.name} was lost: {error}") from error
    status = answer.get("Status")
    log = _log.bind(destination=destination.name, sop_uid=sop_uid)
    if status is None:
        raise DeliveryFailed(f"the association with {destination.name} was lost")
    if status == 0x0000:
        log.info("object-sent")
    elif status in _WARNINGS or status == _ALREADY_THERE:
        log.warning("object-sent", status=f"{status:04X}", comment=str(answer.get("ErrorComment", "")))
    else:
        kind = DeliveryFailed if may_pass(status) else DeliveryRefused
        comment = f" ({answer.ErrorComment})" if "ErrorComment" in answer else ""
        raise kind(f"{destination.name} answered {status:04X}{comment}")
    return Sent(sop_uid, status)
