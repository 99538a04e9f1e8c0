"""Who may touch the files of a study: many who add to it, or one who removes it."""

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager


class Turns:
    """Locks within one process, a study at a time."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._adding: Counter[str] = Counter()
        self._removing: set[str] = set()

    @contextmanager
    def adding(self, study_uid: str) -> Iterator[None]:
        """Wait until nobody removes the study; nobody will as long as the block runs."""
        with self._changed:
            self._changed.wait_for(lambda: study_uid not in self._removing)
            self._adding[study_uid] += 1
        try:
            yield
        finally:
            with self._changed:
                self._adding[study_uid] -= 1
                self._adding += Counter()  # forgets what is zero

    @contextmanager
    def removing(self, study_uid: str) -> Iterator[bool]:
        """Keep others away from the study, or yield False where somebody is adding to it."""
        with self._changed:
            if self._adding[study_uid] or study_uid in self._removing:
                free = False
            else:
                free = True
                self._removing.add(study_uid)
        try:
            yield free
        finally:
            if free:
                with self._changed:
                    self._removing.discard(study_uid)
                    self._changed.notify_all()
