"""Whether the steps that run still move: what tells a hung worker from a busy one."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager


class Pulse:
    """When each running step, one a thread, last showed a sign of life."""

    def __init__(self) -> None:
        self._last: dict[int, float] = {}
        self._lock = threading.Lock()

    @contextmanager
    def step(self) -> Iterator[None]:
        """Count the block as a running step of this thread."""
        self.beat()
        try:
            yield
        finally:
            with self._lock:
                del self._last[threading.get_ident()]

    def beat(self) -> None:
        """Show a sign of life of the step that runs in this thread."""
        with self._lock:
            self._last[threading.get_ident()] = time.monotonic()

    @property
    def running(self) -> int:
        """Number of steps that run."""
        with self._lock:
            return len(self._last)

    def silence_s(self) -> float:
        """Longest silence, in seconds, of any running step; 0 when none runs."""
        with self._lock:
            return time.monotonic() - min(self._last.values()) if self._last else 0.0
