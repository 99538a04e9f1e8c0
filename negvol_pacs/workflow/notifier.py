"""Tells the workflow engine that a study showed a sign of life, without holding up the receiver."""

import threading
import time
from collections.abc import Callable
from typing import Protocol

import structlog

_GATHER_S = 0.25
"""Signs of life that come closer together count as one: a series brings hundreds."""
_RETRY_S = 5.0

_log = structlog.get_logger()


class Touch(Protocol):
    """The engine's debouncer: see :meth:`negvol_pacs.workflow.engine.Jobs.touch`."""

    def touch(self, study: str, quiet_s: float) -> None:
        """Dispatch the study when it has been quiet for so long."""


class Notifier:
    """Starts a study's quiet period anew at every sign of life.

    What is lost with the process is made up for at the next start: the ledger knows every
    study that is still receiving, and the receiver passes them all to :meth:`alive`.

    Parameters
    ----------
    jobs
        The engine.
    quiet_s
        The quiet period.
    is_whole
        Whether nothing more is to come for a study, so that it need not fall quiet.
    """

    def __init__(self, jobs: Touch, quiet_s: float, is_whole: Callable[[str], bool] = lambda _study: False) -> None:
        self._jobs, self._quiet_s, self._is_whole = jobs, quiet_s, is_whole
        self._studies: set[str] = set()
        self._changed = threading.Condition()
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="notifier", daemon=True)
        self._thread.start()

    def alive(self, *studies: str) -> None:
        """Take note of signs of life; returns at once."""
        with self._changed:
            self._studies.update(studies)
            self._changed.notify()

    def close(self) -> None:
        """Pass on what is waiting and stop."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join(timeout=10)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._studies or self._closing)
                studies, self._studies = self._studies, set()
            if not studies:
                return
            failed = {study for study in studies if not self._touch(study)}
            with self._changed:
                self._studies |= failed
                if self._closing:
                    return
            time.sleep(_RETRY_S if failed else _GATHER_S)

    def _touch(self, study: str) -> bool:
        try:
            self._jobs.touch(study, 0.0 if self._is_whole(study) else self._quiet_s)
        except Exception:  # noqa: BLE001 - whatever ails the database, the study must not be forgotten
            _log.exception("notifier-failed", study=study)
            return False
        return True
