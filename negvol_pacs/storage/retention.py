"""What was delivered and confirmed goes: after its time, or when the disk needs the room."""

import time
from collections.abc import Callable, Iterator

import structlog
from pydicom import dcmread
from pydicom.errors import InvalidDicomError

from negvol_pacs.config import Config
from negvol_pacs.errors import StorageError
from negvol_pacs.storage.inbox import Inbox
from negvol_pacs.storage.outbox import Outbox
from negvol_pacs.storage.records import ResultKind, State
from negvol_pacs.storage.removals import Settled

_DAY_S = 86400.0

_log = structlog.get_logger()


class Retention:
    """Removes studies, one at a time; to be used in the process that receives.

    Images, SEG, picture and numbers go. The SR stays, since later studies are compared with it,
    unless the study's profile wants everything deleted. What is not delivered and confirmed
    everywhere, or has no destination, is never touched.

    Parameters
    ----------
    inbox, outbox
        What lies where.
    config
        Retention, and the profiles of called AE titles.
    on_removed
        Called with study, patient ID and reason.
    clock
        Seconds since the epoch.
    """

    def __init__(
        self,
        inbox: Inbox,
        outbox: Outbox,
        config: Config,
        on_removed: Callable[[str, str, str], None] = lambda _study, _patient, _reason: None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._inbox, self._outbox, self._clock = inbox, outbox, clock
        self._on_removed = on_removed
        self._books = inbox.ledger.removals
        self._was_low = False
        self.reload(config)

    def reload(self, config: Config) -> None:
        """Take over other rules."""
        self._rules = config.retention
        self._deleting = {profile.ae_title for profile in config.profiles if profile.after_delivery == "delete"}
        self._known: dict[Settled, bool] = {}

    def turn(self) -> bool:
        """Remove one study, if there is one to remove; return whether there was.

        What goes wrong is logged and tried again the next time.
        """
        try:
            return any(self._remove(settled, reason) for settled, reason in self._due())
        except (StorageError, OSError) as error:
            _log.error("retention-failed", reason=str(error))
            return False

    def _due(self) -> Iterator[tuple[Settled, str]]:
        """Yield what may go, and why, in the order in which it goes."""
        rules, now = self._rules, self._clock()
        settled = self._books.settled()
        for study in settled:
            delivered = study.state is State.DONE
            days = rules.keep_days if delivered else rules.keep_refused_days
            if delivered and self._is_to_be_deleted(study):
                yield study, "delivered"
            elif days is not None and now - study.since >= days * _DAY_S:
                yield study, f"after {days:g} days"
        low = self._inbox.free_bytes < rules.low_free_bytes
        candidates = [study for study in settled if study.state is State.DONE] if low else []
        if low and not self._was_low:
            _log.warning(
                "disk-low", free=self._inbox.free_bytes, wanted=rules.low_free_bytes, removable=len(candidates)
            )
        self._was_low = low
        yield from ((study, "the disk is low") for study in candidates)

    def _is_to_be_deleted(self, settled: Settled) -> bool:
        """Tell whether all AE titles that the study came to delete after delivery."""
        if self._deleting and settled not in self._known:
            called = self._books.called_aes(settled.study_uid)
            self._known[settled] = bool(called) and called <= self._deleting
        return self._known.get(settled, False)

    def _remove(self, settled: Settled, reason: str) -> bool:
        study = settled.study_uid
        with self._inbox.turns.removing(study) as free:
            if not free:
                return False
            # In this order a crash leaves nothing behind: the study is still due, or its files are unknown
            # to the ledger, and the next start collects them.
            everything = settled.state is State.DONE and self._is_to_be_deleted(settled)
            results = [] if everything else self._inbox.ledger.results(study)
            self._outbox.discard(study, {entry.path for entry in results if entry.kind is ResultKind.SR})
            patient = self._patient(study)
            removal = self._books.remove(settled, reason)
            if removal is None:
                return False
            self._inbox.discard(study)
        self._known.pop(settled, None)
        self._on_removed(study, patient, reason)
        _log.info("study-removed", study=study, reason=reason, instances=removal.instances, bytes=removal.size)
        return True

    def _patient(self, study_uid: str) -> str:
        """Read the patient ID in any of a study's images; empty where none can be read."""
        for path in self._inbox.paths(study_uid)[:1]:
            try:
                return str(dcmread(path, specific_tags=["PatientID"], stop_before_pixels=True).get("PatientID") or "")
            except (OSError, InvalidDicomError):
                _log.warning("image-unreadable", study=study_uid)
        return ""
