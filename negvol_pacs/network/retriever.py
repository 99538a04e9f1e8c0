"""Reports back from a PACS: C-FIND, then C-GET or C-MOVE (PS3.4 annex C)."""

import hashlib
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog
from pydicom import Dataset
from pydicom.uid import Comprehensive3DSRStorage, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import AE, evt
from pynetdicom.association import Association
from pynetdicom.sop_class import (
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelGet,
    StudyRootQueryRetrieveInformationModelMove,
)

from negvol_pacs.config import Config, Destination
from negvol_pacs.errors import MALFORMED, PeerUnreachable, QueryFailed
from negvol_pacs.network.admission import is_from
from negvol_pacs.network.guards import GuardedServer
from negvol_pacs.network.sender import associated, bounded
from negvol_pacs.network.tls import Secured

FIND = StudyRootQueryRetrieveInformationModelFind
GET = StudyRootQueryRetrieveInformationModelGet
MOVE = StudyRootQueryRetrieveInformationModelMove
_SYNTAXES = (ExplicitVRLittleEndian, ImplicitVRLittleEndian)
QUERIES = tuple((FIND, syntax) for syntax in _SYNTAXES)
"""Presentation contexts of a C-FIND."""
_PENDING = (0xFF00, 0xFF01)
_STRAGGLERS_S = 5.0
"""How long objects of a C-MOVE may come after its last answer."""

_log = structlog.get_logger()


@dataclass(frozen=True)
class Wanted:
    """Which reports.

    Attributes
    ----------
    series_number
        Of every series of reports.
    patient_id
        Of this patient alone; empty for all.
    """

    series_number: int
    patient_id: str = ""


def fetch_reports(destination: Destination, wanted: Wanted, folder: Path, config: Config | None = None) -> list[Path]:
    """Copy the Comprehensive 3D SRs that a PACS has into a folder.

    Parameters
    ----------
    destination
        The PACS.
    wanted
        Which ones; who made them is for the reader to check.
    folder
        Where to; its files are named by a hash of the SOP Instance UID.
    config
        Own AE title, port and limits.

    Returns
    -------
    list of Path
        What came.

    Raises
    ------
    PeerUnreachable, DeliveryRefused
        No association, or the models are not accepted.
    QueryFailed
        A failure as answer, or not everything came.
    """
    folder.mkdir(parents=True, exist_ok=True)
    settings = config or Config()
    if destination.dicomweb is not None:
        from negvol_pacs.network.dicomweb import fetch

        return fetch(destination, wanted, folder)
    try:
        return _fetch(destination, wanted, folder, settings)
    except MALFORMED as error:  # not its words: they may quote what was read
        raise QueryFailed(f"{destination.name} answers nonsense ({type(error).__name__})") from error


def _fetch(destination: Destination, wanted: Wanted, folder: Path, settings: Config) -> list[Path]:
    with associated(destination, settings, QUERIES) as assoc:
        found = _find_series(assoc, wanted, destination)
    if not found:
        return []
    keep = _Keeper(folder)
    with retrieving(destination, settings, [Comprehensive3DSRStorage], _SYNTAXES, keep) as (assoc, model):
        if model == GET:
            for item in found:
                finish(assoc.send_c_get(item, GET), destination)
        else:
            with _store_scp(destination, settings, keep) as title:
                came = sum(finish(assoc.send_c_move(item, title, MOVE), destination) for item in found)
                keep.wait(came)
    _log.info("reports-fetched", source=destination.name, series=len(found), reports=len(keep.paths))
    return sorted(keep.paths)


@contextmanager
def retrieving(
    destination: Destination,
    config: Config,
    sop_classes: Sequence[str],
    syntaxes: Sequence[str],
    on_store: Callable[[evt.Event], int],
) -> Iterator[tuple[Association, str]]:
    """Open an association to retrieve by: C-GET where the peer offers it, else C-MOVE.

    Parameters
    ----------
    destination
        The peer.
    config
        Own AE title and time limits.
    sop_classes, syntaxes
        What a C-GET may bring.
    on_store
        Handler of its C-STORE requests.

    Yields
    ------
    Association, str
        And the model that the peer has accepted, `GET` or `MOVE`.

    Raises
    ------
    QueryFailed
        The peer offers neither; beside what `associated` raises.
    """
    models = [(model, syntax) for model in (GET, MOVE) for syntax in _SYNTAXES]
    objects = [(sop_class, syntax) for sop_class in sop_classes for syntax in syntaxes]
    with associated(destination, config, [*models, *objects], sop_classes, on_store) as assoc:
        accepted = {context.abstract_syntax for context in assoc.accepted_contexts}
        model = next((model for model in (GET, MOVE) if model in accepted), None)
        if model is None:
            raise QueryFailed(f"{destination.name} offers neither C-GET nor C-MOVE")
        yield assoc, model


class _Keeper:
    """Handler of C-STORE requests that writes each object into a folder, as it came."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.paths: set[Path] = set()

    def __call__(self, event: evt.Event) -> int:
        path = self._folder / f"{file_name(str(event.request.AffectedSOPInstanceUID))}.dcm"
        path.write_bytes(event.encoded_dataset())
        self.paths.add(path)
        return 0x0000

    def wait(self, count: int) -> None:
        """Wait a little for what is still on its way: C-MOVE answers on another association."""
        deadline = time.monotonic() + _STRAGGLERS_S
        while len(self.paths) < count and time.monotonic() < deadline:
            time.sleep(0.05)


def file_name(sop_instance_uid: str) -> str:
    """Name of a file that no peer can choose."""
    return hashlib.sha256(sop_instance_uid.encode()).hexdigest()[:32]


def _find_series(assoc: Association, wanted: Wanted, destination: Destination) -> list[Dataset]:
    """Return the identifiers of the series for C-GET and C-MOVE: level by level, as the hierarchical model wants it."""
    study = Dataset()
    study.QueryRetrieveLevel, study.StudyInstanceUID, study.ModalitiesInStudy = "STUDY", "", "SR"
    study.PatientID = wanted.patient_id
    found = []
    for answer in find(assoc, study, destination):
        series = Dataset()
        series.QueryRetrieveLevel, series.StudyInstanceUID = "SERIES", answer.StudyInstanceUID
        series.Modality, series.SeriesNumber, series.SeriesInstanceUID = "SR", str(wanted.series_number), ""
        for match in find(assoc, series, destination):
            item = Dataset()
            item.QueryRetrieveLevel, item.StudyInstanceUID = "SERIES", answer.StudyInstanceUID
            item.SeriesInstanceUID = match.SeriesInstanceUID
            found.append(item)
    return found


def find(assoc: Association, query: Dataset, destination: Destination) -> list[Dataset]:
    """Return the answers to a C-FIND of the Study Root model.

    Raises
    ------
    PeerUnreachable
        The association was lost.
    QueryFailed
        Any other answer than success.
    """
    try:
        answers = list(assoc.send_c_find(query, FIND))
    except (ValueError, RuntimeError) as error:
        raise QueryFailed(f"{destination.name} does not answer queries: {error}") from error
    _check(answers[-1][0] if answers else Dataset(), destination)
    return [found for status, found in answers if status.get("Status") in _PENDING and found is not None]


def finish(answers: Iterator[tuple[Dataset, Any]], destination: Destination) -> int:
    """Go through the answers to a C-GET or C-MOVE; return how many objects were sent."""
    status = [status for status, _identifier in answers][-1]
    _check(status, destination)
    return int(status.get("NumberOfCompletedSuboperations") or 0)


def _check(status: Dataset, destination: Destination) -> None:
    code = status.get("Status")
    if code is None:
        raise PeerUnreachable(f"the association with {destination.name} was lost")
    if code != 0x0000:
        comment = f" ({status.ErrorComment})" if "ErrorComment" in status else ""
        raise QueryFailed(f"{destination.name} answered {code:04X}{comment}")


@contextmanager
def _store_scp(destination: Destination, config: Config, keep: Callable[[evt.Event], int]) -> Iterator[str]:
    """Listen for what a C-MOVE sends, from the destination alone; yield the AE title to move to.

    From its host, or from where its AE title may come as a peer; over TLS where the node uses TLS.
    """
    title = destination.move_ae_title or destination.calling_ae_title or config.node.ae_title
    port = destination.move_port or config.node.port
    ae = AE(title)
    ae.require_called_aet, ae.require_calling_aet = True, [destination.ae_title]
    ae.maximum_pdu_size = config.limits.max_pdu_bytes
    ae.network_timeout = ae.dimse_timeout = config.limits.network_timeout_s
    ae.add_supported_context(Comprehensive3DSRStorage, list(_SYNTAXES))
    secured = None if config.node.tls is None else Secured(config.node.tls)

    def prepare(assoc: Association) -> Callable[[], None]:
        assoc.dimse = bounded(assoc, config.limits, objects=True)
        return lambda: None

    try:
        server = GuardedServer(
            ae, (config.node.host, port), [(evt.EVT_C_STORE, keep)], config.limits, prepare,
            secured=secured, admits=lambda address: is_from(address, destination, config),
        )  # fmt: skip
    except OSError as error:
        raise QueryFailed(
            f"port {port}, to which {destination.name} should send, cannot be used: {error.strerror}; set move_port"
        ) from error
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield title
    finally:
        server.shutdown()
        thread.join()
