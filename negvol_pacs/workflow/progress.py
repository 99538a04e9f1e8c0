"""What is being computed, for people who look."""

import time

import structlog

from negvol_pacs.storage.ledger import Ledger
from negvol_pacs.storage.records import State
from negvol_pacs.workflow.pulse import Pulse

_PROGRESS_EVERY_S = 1.0

_log = structlog.get_logger()


class Progress:
    """Writes what is being done into the ledger, where ``negvol queue`` shows it, at most once a second.

    Parameters
    ----------
    ledger, study, generation
        What is computed.
    pulse
        Gets a beat each time.
    """

    def __init__(self, ledger: Ledger, study: str, generation: int, pulse: Pulse) -> None:
        self._ledger, self._study, self._generation, self._pulse = ledger, study, generation, pulse
        self._next, self._what = 0.0, ""

    def __call__(self, what: str, fraction: float) -> None:
        """Say what is done, and which fraction of all of it."""
        self._pulse.beat()
        now = time.monotonic()
        if what == self._what and now < self._next:
            return
        if what != self._what:
            _log.info("analysis-step", study=self._study, generation=self._generation, step=what)
        self._next, self._what = now + _PROGRESS_EVERY_S, what
        self._ledger.set_state(
            self._study,
            self._generation,
            State.PROCESSING,
            reason=f"{what} ({fraction:.0%})",
            expected=[State.PROCESSING],
        )
