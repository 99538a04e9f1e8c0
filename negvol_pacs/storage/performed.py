"""What modalities tell of the steps that they perform (PS3.4 annex F): which images there will be."""

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

import sqlalchemy as sa

from negvol_pacs.storage.database import Database, put
from negvol_pacs.storage.schema import instances, performed

_KEEP_S = 30 * 86400.0


class StepState(StrEnum):
    """Performed Procedure Step Status (0040,0252)."""

    IN_PROGRESS = "IN PROGRESS"
    COMPLETED = "COMPLETED"
    DISCONTINUED = "DISCONTINUED"


@dataclass(frozen=True)
class Step:
    """One performed procedure step; time in seconds since the epoch."""

    sop_uid: str
    study_uid: str
    state: StepState
    images: tuple[str, ...]
    """SOP Instance UIDs of the images that it made."""
    calling_ae: str
    updated_at: float


class Performed:
    """The part of the ledger that knows performed procedure steps.

    Parameters
    ----------
    database
        The ledger's.
    clock
        Seconds since the epoch.
    """

    def __init__(self, database: Database, clock: Callable[[], float] = time.time) -> None:
        self._database, self._clock = database, clock

    def enter(self, step: Step) -> None:
        """Enter a step, or what is known of it now, and forget what nobody spoke of for 30 days."""
        now = self._clock()
        with self._database.writing() as connection:
            put(connection, performed, asdict(step) | {"images": json.dumps(step.images), "updated_at": now})
            connection.execute(performed.delete().where(performed.c.updated_at < now - _KEEP_S))

    def find(self, sop_uid: str) -> Step | None:
        """Return a step."""
        rows = self._database.all(sa.select(performed).where(performed.c.sop_uid == sop_uid))
        return _step(rows[0]) if rows else None

    def is_whole(self, study_uid: str) -> bool:
        """Tell whether all steps of a study are completed, and all their images are here and no others.

        Of others, of which the modality said nothing, more may come.
        """
        rows = self._database.all(sa.select(performed).where(performed.c.study_uid == study_uid))
        steps = [_step(row) for row in rows]
        promised = {uid for step in steps for uid in step.images}
        if not promised or any(step.state is not StepState.COMPLETED for step in steps):
            return False
        query = sa.select(instances.c.sop_uid).where(instances.c.study_uid == study_uid)
        return promised == {row["sop_uid"] for row in self._database.all(query)}


def _step(row: dict[str, Any]) -> Step:
    return Step(**row | {"state": StepState(row["state"]), "images": tuple(json.loads(row["images"]))})
