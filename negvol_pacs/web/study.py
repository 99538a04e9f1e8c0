"""All that is known of one study, but the patient."""

from functools import lru_cache
from pathlib import Path

import pydicom

from negvol_pacs.errors import MALFORMED, ReportError
from negvol_pacs.joint.findings import Findings
from negvol_pacs.report.document import read_report
from negvol_pacs.report.table import findings_json
from negvol_pacs.storage.ledger import Ledger
from negvol_pacs.storage.overview import Stand
from negvol_pacs.storage.records import Delivery, DeliveryState, Generation, ResultKind
from negvol_pacs.web.node import Node, moment
from negvol_pacs.web.views import Made, Round, Sending, Study, Verdict


def look(node: Node, study_uid: str) -> tuple[Study, Findings | None, str] | None:
    """Look at one study.

    Returns
    -------
    tuple or None
        The study, its findings and the patient ID (for the audit trail); None where nothing of it was received.

    Raises
    ------
    StorageError
        If the ledger cannot be read.
    """
    picture = node.picture(study_uid)
    with node.ledger() as ledger:
        stand = ledger.overview.study(study_uid)
        if stand is None:
            return None
        findings, reason = _findings(node, stand)
        removal = ledger.removals.find(study_uid)
        study = Study(
            line=node.line(ledger, stand),
            generations=[_round(node, ledger, entry) for entry in reversed(ledger.generations(study_uid))],
            deliveries=_deliveries(ledger, study_uid),
            picture=None if picture is None else f"/studies/{study_uid}/joints.png",
            removed="" if removal is None else f"{moment(removal.removed_at):%Y-%m-%d %H:%M}: {removal.reason}",
            findings=None if findings is None else findings_json(findings),
            no_findings=reason,
        )
    return study, findings, node.identity(stand).patient_id


def _findings(node: Node, stand: Stand) -> tuple[Findings | None, str]:
    if stand.report is None:
        return None, ""
    try:
        return _read(node.outbox / stand.report), ""
    except FileNotFoundError:
        return None, "The report was deleted here after its delivery."
    except (ReportError, *MALFORMED) as error:
        return None, f"The report cannot be read: {error}"


@lru_cache(maxsize=64)
def _read(path: Path) -> Findings:
    return read_report(pydicom.dcmread(path)).findings


def _round(node: Node, ledger: Ledger, entry: Generation) -> Round:
    study, number = entry.study_uid, entry.number
    return Round(
        number,
        entry.state.words,
        entry.code,
        entry.reason,
        entry.instances,
        entry.calling_ae,
        moment(entry.opened_at),
        moment(entry.updated_at),
        [Verdict(said.series_uid, said.measured, said.code, said.reason) for said in ledger.verdicts(study, number)],
        [
            Made(made.kind, made.sop_uid, moment(made.created_at), (node.outbox / made.path).is_file())
            for made in ledger.results(study, number)
        ],
    )


def _deliveries(ledger: Ledger, study_uid: str) -> list[Sending]:
    kinds = {result.sop_uid: result.kind for result in ledger.results(study_uid)}
    return [_sending(delivery, kinds[delivery.sop_uid]) for delivery in ledger.deliveries(study_uid)]


def _sending(delivery: Delivery, kind: ResultKind) -> Sending:
    state = delivery.state
    return Sending(
        kind,
        delivery.sop_uid,
        delivery.destination,
        state.words,
        state is DeliveryState.CONFIRMED,
        delivery.attempts,
        delivery.error,
        moment(delivery.next_try) if state is DeliveryState.FAILED else None,
        moment(delivery.updated_at),
    )
