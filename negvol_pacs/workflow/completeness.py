"""Proof, before anything is computed, that all images of a series are here, where its sender can be asked."""

import uuid
from collections import defaultdict
from collections.abc import Callable, Sequence

import structlog

from negvol_pacs.config import Config, Destination
from negvol_pacs.errors import NetworkError
from negvol_pacs.network.completion import fetch, missing
from negvol_pacs.storage.inbox import Inbox, Origin
from negvol_pacs.storage.records import Instance

_log = structlog.get_logger()


def lacking(study: str, inbox: Inbox, config: Config, beat: Callable[[], None]) -> str:
    """Ask the sender's archive for what is missing of a study, and fetch it.

    Only series are asked about of which something came: a sender may route one and not the other.

    Parameters
    ----------
    study
        Study Instance UID.
    inbox
        What came, and where the rest goes.
    config
        Peers, with the name of their archive.
    beat
        Called as images come.

    Returns
    -------
    str
        Empty where all is here, or none of the senders has an archive; else what is missing, or
        why that is not known.
    """
    instances = inbox.ledger.instances(study)
    archive, sent = _archive(instances, config)
    if archive is None:
        return ""
    try:
        wanted = missing(archive, study, _by_series(instances, {entry.series_uid for entry in sent}), config)
        if not wanted:
            _log.info("study-whole", study=study, archive=archive.name, instances=len(instances))
            return ""
        _log.warning(
            "study-not-whole",
            study=study,
            archive=archive.name,
            missing={uid: len(uids) for uid, uids in wanted.items()},
        )
        last = sent[-1]
        origin = Origin(str(uuid.uuid4()), last.calling_ae, last.called_ae, config.node.executor_id)
        fetch(archive, study, wanted, inbox, origin, config, beat)
    except NetworkError as error:
        return f"{archive.name} cannot say or give what is missing: {error}"
    here = {entry.sop_uid for entry in inbox.ledger.instances(study)}
    rest = [uid for uids in wanted.values() for uid in uids if uid not in here]
    return f"{archive.name} has {len(rest)} images more of what came" if rest else ""


def _archive(instances: Sequence[Instance], config: Config) -> tuple[Destination | None, list[Instance]]:
    """Return the archive that is to be asked, and what came from its peers."""
    for archive in config.archives:
        peers = {peer.ae_title for peer in config.peers if peer.archive == archive.name}
        sent = [entry for entry in instances if entry.calling_ae in peers]
        if sent:
            return archive, sent
    return None, []


def _by_series(instances: Sequence[Instance], series: set[str]) -> dict[str, set[str]]:
    found = defaultdict(set)
    for entry in instances:
        if entry.series_uid in series:
            found[entry.series_uid].add(entry.sop_uid)
    return found
