"""When a study that is being received counts as complete."""

import sqlalchemy as sa

from negvol_pacs.storage.records import State
from negvol_pacs.storage.schema import associations, generations, instances


def due(study_uid: str, quiet_period_s: float, now: float) -> sa.ColumnElement[bool]:
    """Condition on generations: the study's open one, if it has been quiet for long enough.

    Quiet: no instance and no end of an association that brought one for ``quiet_period_s``.
    An association that is still open puts this off, but not beyond ten quiet periods: some
    peers never close theirs.
    """
    receiving = (generations.c.study_uid == study_uid) & (generations.c.state == State.RECEIVING)
    busy = sa.exists().where(
        instances.c.study_uid == study_uid,
        instances.c.association_id == associations.c.id,
        associations.c.ended_at.is_(None),
    )
    quiet = generations.c.last_at <= now - quiet_period_s
    long_quiet = generations.c.last_at <= now - 10 * quiet_period_s
    return receiving & ((quiet & ~busy) | long_quiet)
