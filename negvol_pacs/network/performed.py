"""The modality performed procedure step SCP: a study need not fall quiet when its modality says what it made.

PS3.4 section F.7. Nothing is passed on to a RIS: modalities tell that themselves.
"""

from collections.abc import Callable, Collection
from dataclasses import replace

import structlog
from pydicom import Dataset
from pynetdicom import evt

from negvol_pacs.errors import MALFORMED, StorageError
from negvol_pacs.storage.identify import is_uid
from negvol_pacs.storage.performed import Performed, Step, StepState

_SUCCESS = 0x0000
_INVALID_VALUE, _FAILURE, _DUPLICATE, _NO_SUCH_INSTANCE, _MISSING = 0x0106, 0x0110, 0x0111, 0x0112, 0x0120
_NO_MORE_UPDATES = 0xA710
"""Error ID (PS3.4 table F.7.2-2)."""

_log = structlog.get_logger()

_Answer = tuple[Dataset | int, None]


class StepTaker:
    """Takes N-CREATE and N-SET.

    Parameters
    ----------
    books
        Where steps are kept.
    images
        SOP classes that are received; of others nobody waits for an instance.
    on_completed
        Called with the study of a step that was completed.
    """

    def __init__(self, books: Performed, images: Collection[str], on_completed: Callable[[str], None]) -> None:
        self._books, self._images, self._on_completed = books, frozenset(images), on_completed

    def created(self, event: evt.Event) -> _Answer:
        """Handle an N-CREATE: a step has begun."""
        return self._guarded(event, self._create), None

    def changed(self, event: evt.Event) -> _Answer:
        """Handle an N-SET: a step goes on, or has ended."""
        return self._guarded(event, self._change), None

    def _guarded(self, event: evt.Event, take: Callable[[evt.Event], Dataset | int]) -> Dataset | int:
        try:
            return take(event)
        except (*MALFORMED, StorageError) as error:
            _log.warning("performed-step-refused", reason=str(error) or type(error).__name__)
            return _FAILURE

    def _create(self, event: evt.Event) -> int:
        attributes, uid = event.attribute_list, str(event.request.AffectedSOPInstanceUID or "")
        scheduled = attributes.get("ScheduledStepAttributesSequence") or [Dataset()]
        study = str(scheduled[0].get("StudyInstanceUID", ""))
        if not (is_uid(uid) and is_uid(study) and "PerformedProcedureStepStatus" in attributes):
            return _MISSING
        if attributes.PerformedProcedureStepStatus != StepState.IN_PROGRESS:
            return _INVALID_VALUE
        if self._books.find(uid) is not None:
            return _DUPLICATE
        calling_ae = event.assoc.dimse.origin.calling_ae
        self._books.enter(Step(uid, study, StepState.IN_PROGRESS, self._made(attributes), calling_ae, 0.0))
        _log.info("performed-step-begun", study=study, calling_ae=calling_ae)
        return _SUCCESS

    def _change(self, event: evt.Event) -> Dataset | int:
        step = self._books.find(str(event.request.RequestedSOPInstanceUID or ""))
        if step is None or step.calling_ae != event.assoc.dimse.origin.calling_ae:
            return _NO_SUCH_INSTANCE
        if step.state is not StepState.IN_PROGRESS:
            answer = Dataset()
            answer.Status, answer.ErrorID = _FAILURE, _NO_MORE_UPDATES
            return answer
        changes = event.modification_list
        status = str(changes.get("PerformedProcedureStepStatus", step.state))
        if status not in set(StepState):
            return _INVALID_VALUE
        images = self._made(changes) if "PerformedSeriesSequence" in changes else step.images
        step = replace(step, state=StepState(status), images=images)
        self._books.enter(step)
        _log.info("performed-step-changed", study=step.study_uid, state=status, images=len(images))
        if step.state is StepState.COMPLETED:
            self._on_completed(step.study_uid)
        return _SUCCESS

    def _made(self, attributes: Dataset) -> tuple[str, ...]:
        """Return the images that a step says it made, of the kinds that are received."""
        items = [
            item
            for series in attributes.get("PerformedSeriesSequence") or ()
            for item in series.get("ReferencedImageSequence") or ()
        ]
        uids = {str(item.ReferencedSOPInstanceUID) for item in items if item.ReferencedSOPClassUID in self._images}
        return tuple(sorted(uid for uid in uids if is_uid(uid)))
