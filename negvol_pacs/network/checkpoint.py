"""A remedy for a race in pynetdicom's service user."""

import threading


class Checkpoint:
    """Where an association's reactor waits while a request is under way.

    pynetdicom 3.0.4 uses an event: clearing it does not wait until the reactor has stopped, so a
    busy machine's reactor may still take the answer meant for the request, which then times out
    (3 of 1458 echoes on a loaded machine). This one's `clear` returns only when the reactor
    stands at it.
    """

    _PATIENCE_S = 5.0

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._open = True
        self._parked = False

    def set(self) -> None:
        """Let the reactor go on."""
        with self._changed:
            self._open = True
            self._changed.notify_all()

    def is_set(self) -> bool:
        """Whether the reactor may go on."""
        return self._open

    def clear(self) -> None:
        """Stop the reactor, and wait until it stands; a reactor that has ended never does."""
        with self._changed:
            self._open = False
            self._changed.wait_for(lambda: self._parked or self._open, timeout=self._PATIENCE_S)

    def wait(self, timeout: float | None = None) -> bool:
        """Stand here until `set`; called by the reactor alone."""
        with self._changed:
            self._parked = True
            self._changed.notify_all()
            try:
                return self._changed.wait_for(lambda: self._open, timeout)
            finally:
                self._parked = False
