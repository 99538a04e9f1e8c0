"""A RIS of the tests, and queries to a node that asks it."""

import threading
import time
from pathlib import Path
from socketserver import BaseServer

from network_node import RunningNode, free_port, make_config
from pydicom import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import ImplicitVRLittleEndian
from pynetdicom import AE, evt
from pynetdicom.sop_class import ModalityWorklistInformationFind

from negvol_pacs.config import Ris, Worklist

STUDY = "1.2.826.0.1.3680043.9.7"


def item(number: int = 1, **attributes: object) -> Dataset:
    """A worklist item; a step's attributes by their keywords too."""
    ds = Dataset()
    ds.SpecificCharacterSet = "ISO_IR 100"
    ds.AccessionNumber, ds.StudyInstanceUID = f"A-{number}", f"{STUDY}.{number}"
    ds.PatientName, ds.PatientID, ds.IssuerOfPatientID = "Müller^Jürgen", f"P-{number}", ""
    ds.RequestedProcedureID, ds.RequestedProcedureDescription = f"R-{number}", "Kiefergelenk-CT für TMJ"
    step = Dataset()
    step.Modality, step.ScheduledStationAETitle = "CT", "CT1"
    step.ScheduledProcedureStepStartDate, step.ScheduledProcedureStepStartTime = "20261121", "101500"
    step.ScheduledProcedureStepID = f"S-{number}"
    for keyword, value in attributes.items():
        setattr(step if keyword in step else ds, keyword, value)
    ds.ScheduledProcedureStepSequence = Sequence([step])
    return ds


def query(**keys: object) -> Dataset:
    """Ask for all that `item` has, with some keys filled."""
    ds = item(**keys)
    step = ds.ScheduledProcedureStepSequence[0]
    for part in (ds, step):
        for element in part:
            if element.VR != "SQ" and element.keyword not in keys and element.keyword != "SpecificCharacterSet":
                element.value = None
    return ds


class FakeRis:
    """A worklist SCP that answers what it is told to, and remembers."""

    def __init__(self, *items: Dataset, status: int = 0x0000, pause_s: float = 0.0) -> None:
        self.items, self.status, self.pause_s = list(items), status, pause_s
        self.cancelled = self.asked = 0
        ae = AE("RIS")
        ae.add_supported_context(ModalityWorklistInformationFind, ImplicitVRLittleEndian)
        self.port = free_port()
        handlers = [(evt.EVT_C_FIND, self._find)]
        self.server = ae.make_server(("127.0.0.1", self.port), evt_handlers=handlers)
        self._thread = threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def _find(self, event):
        self.asked += 1
        for found in self.items:
            if event.is_cancelled:
                self.cancelled += 1
                yield 0xFE00, None
                return
            yield 0xFF00, found
            time.sleep(self.pause_s)
        yield self.status, None

    def stop(self) -> None:
        if self._thread.is_alive():
            BaseServer.shutdown(self.server)
            self.server.server_close()
            self._thread.join()


class WorklistNode(RunningNode):
    """A node that passes worklist queries on."""

    def __init__(self, folder: Path, *ports: int, **rules: object) -> None:
        ris = tuple(Ris(name=f"ris{i}", ae_title="RIS", host="127.0.0.1", port=port) for i, port in enumerate(ports))
        changes = {"ris": ris, "worklist": Worklist(**{"timeout_s": 5, **rules})}
        super().__init__(folder, make_config(folder).model_copy(update=changes))

    def ask(self, keys: Dataset, cancel_after: int = 0) -> tuple[list[Dataset], list[int], Dataset]:
        """Matches, their statuses, and the last answer."""
        matches, statuses = [], []
        with_worklist = (ModalityWorklistInformationFind, ImplicitVRLittleEndian)
        assoc = self.associate(with_worklist)
        assert assoc.is_established
        try:
            for status, found in assoc.send_c_find(keys, ModalityWorklistInformationFind, msg_id=7):
                if status.get("Status") not in (0xFF00, 0xFF01):
                    return matches, statuses, status
                matches.append(found)
                statuses.append(status.Status)
                if len(matches) == cancel_after:
                    assoc.send_c_cancel(7, query_model=ModalityWorklistInformationFind)
        finally:
            assoc.release()
        raise AssertionError("no last answer")
