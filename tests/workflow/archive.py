"""An archive that stores, commits as it is told, and answers queries by SOP Instance UID."""

import threading

from node_process import free_port
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import Comprehensive3DSRStorage, ExplicitVRLittleEndian
from pynetdicom import AE, build_role, evt
from pynetdicom.sop_class import (
    StorageCommitmentPushModel,
    StorageCommitmentPushModelInstance,
    StudyRootQueryRetrieveInformationModelFind,
)

from negvol_pacs.network.checkpoint import Checkpoint

STUDY, RESULT = "1.2.826.0.1.3680043.8.498.7", "2.25.1"


def sr(uid=RESULT):
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.SOPClassUID, ds.SOPInstanceUID = Comprehensive3DSRStorage, uid
    ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.Modality = STUDY, f"{uid}.1", "SR"
    ds.PatientID, ds.PatientName = "4711", "DOE^JANE"
    return ds


def reported(transaction, kept=(), failed=()):
    ds = Dataset()
    ds.TransactionUID = transaction
    for keyword, uids in (("ReferencedSOPSequence", kept), ("FailedSOPSequence", failed)):
        items = []
        for uid in uids:
            item = Dataset()
            item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = Comprehensive3DSRStorage, uid
            if keyword.startswith("Failed"):
                item.FailureReason = 0x0112
            items.append(item)
        if items:
            setattr(ds, keyword, items)
    return ds


def report(ds, port, event_type=1, calling="PACS", called="NEGVOL"):
    """Report on an association of its own; return the status that is answered, None without association."""
    ae = AE(calling)
    ae.add_requested_context(StorageCommitmentPushModel)
    roles = [build_role(StorageCommitmentPushModel, scp_role=True)]
    assoc = ae.associate("127.0.0.1", port, ae_title=called, ext_neg=roles)
    if not assoc.is_established:
        return None
    instance = StorageCommitmentPushModelInstance
    answer, _ = assoc.send_n_event_report(ds, event_type, StorageCommitmentPushModel, instance)
    assoc.release()
    return answer.Status


class Archive:
    """``mode``: report on the "same" association, on a "separate" one, or "never"; ``keeps``: what it reports."""

    def __init__(self, node_port=0, mode="same", offers=("commitment", "find"), keeps=True):
        self.port, self.node_port = free_port(), node_port
        self.mode, self.keeps, self.finds = mode, keeps, True
        self.stored, self.asked, self.answers = [], [], []
        ae = AE("PACS")
        ae.add_supported_context(Comprehensive3DSRStorage)
        if "commitment" in offers:
            ae.add_supported_context(StorageCommitmentPushModel)
        if "find" in offers:
            ae.add_supported_context(StudyRootQueryRetrieveInformationModelFind)
        handlers = [(evt.EVT_C_STORE, self.store), (evt.EVT_N_ACTION, self.commit), (evt.EVT_C_FIND, self.find)]
        handlers.append((evt.EVT_REQUESTED, lambda event: setattr(event.assoc, "_reactor_checkpoint", Checkpoint())))
        self.server = ae.start_server(("127.0.0.1", self.port), block=False, evt_handlers=handlers)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.server.shutdown()

    def store(self, event):
        self.stored.append(str(event.request.AffectedSOPInstanceUID))
        return 0x0000

    def find(self, event):
        if self.finds and str(event.identifier.SOPInstanceUID) in self.stored:
            yield 0xFF00, event.identifier
        yield 0x0000, None

    def commit(self, event):
        self.asked.append(event.action_information)
        if self.mode != "never":
            threading.Thread(target=self.answer, args=(event.assoc,), daemon=True).start()
        return 0x0000, None

    def answer(self, assoc=None):
        request = self.asked[-1]
        uids = [str(item.ReferencedSOPInstanceUID) for item in request.ReferencedSOPSequence]
        ds = reported(request.TransactionUID, **{"kept" if self.keeps else "failed": uids})
        kind = 1 if self.keeps else 2
        if self.mode == "same":
            instance = StorageCommitmentPushModelInstance
            answer, _ = assoc.send_n_event_report(ds, kind, StorageCommitmentPushModel, instance)
            self.answers.append(answer.Status)
        else:
            self.answers.append(report(ds, self.node_port, kind))
