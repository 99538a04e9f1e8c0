"""Which study comes first: by its order's Requested Procedure Priority, and by the AE titles that it came with."""

import pydicom
from pydicom.errors import InvalidDicomError

from negvol_pacs.config import Config
from negvol_pacs.errors import OrderMismatch
from negvol_pacs.storage.inbox import Inbox
from negvol_pacs.storage.orders import text
from negvol_pacs.storage.records import Instance
from negvol_pacs.workflow.engine import ROUTINE, URGENT
from negvol_pacs.workflow.orders import find_order

LEVELS = {"STAT": URGENT, "HIGH": 5, "MEDIUM": ROUTINE, "ROUTINE": ROUTINE, "LOW": 20}
"""Of Requested Procedure Priority (0040,1003), PS3.3 table C.4-11."""


def priority(study: str, inbox: Inbox, config: Config) -> int:
    """Find how urgent a study is: the most urgent of what peer, profile and order say.

    Parameters
    ----------
    study
        Study Instance UID.
    inbox
        With its images, and the orders that the worklist brought.
    config
        Peers and profiles; how near in time an order must be.

    Returns
    -------
    int
        As the engine has it: the smaller comes first.
    """
    instances = inbox.ledger.instances(study)
    calling, called = ({getattr(entry, key) for entry in instances} for key in ("calling_ae", "called_ae"))
    stat_peers = {peer.ae_title for peer in config.peers if peer.priority == "stat"}
    stat_profiles = {profile.ae_title for profile in config.profiles if profile.priority == "stat"}
    if stat_peers & calling or stat_profiles & called:
        return URGENT
    return _of_order(instances[0], inbox, config) if instances else ROUTINE


def _of_order(instance: Instance, inbox: Inbox, config: Config) -> int:
    try:
        header = pydicom.dcmread(inbox.path(instance), stop_before_pixels=True)
        order = find_order(header, inbox.ledger.orders, 3600 * config.worklist.match_within_h)
    except (OSError, InvalidDicomError, OrderMismatch):
        return ROUTINE  # the analysis says what is wrong
    return ROUTINE if order is None else LEVELS.get(text(order, "RequestedProcedurePriority"), ROUTINE)
