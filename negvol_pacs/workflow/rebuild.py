"""The node's databases made anew: the ledger from inbox and outbox if damaged, the engine's from the ledger."""

import time
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path

from negvol_pacs.config import Config
from negvol_pacs.errors import DatabaseDamaged
from negvol_pacs.storage import database, durable
from negvol_pacs.storage.ledger import Ledger
from negvol_pacs.storage.rebuild import Rebuilt, rebuild
from negvol_pacs.storage.records import DeliveryState, State
from negvol_pacs.storage.salvage import carry_over
from negvol_pacs.workflow import layout, process
from negvol_pacs.workflow.engine import Jobs, migrate

_COMPANIONS = ("", "-wal", "-shm")
_WAITING = (DeliveryState.PENDING, DeliveryState.FAILED, DeliveryState.SENT)


def rebuild_state(config: Config) -> Rebuilt | None:
    """Make the engine's database anew, and the ledger, too, where it is damaged or gone.

    What is damaged is kept beside it under another name. Images of a ledger that was lost are measured
    again, with the same UIDs as before; results are known again by their files; and what can be read of
    it and no file tells is taken over. An intact ledger goes on from where it is. A rebuilding that is
    interrupted is to be begun again.

    Returns
    -------
    Rebuilt or None
        What was found in the inbox; None where the ledger was whole and is kept.

    Raises
    ------
    AlreadyRunning
        If a process of the node runs.
    """
    state = config.node.state
    with ExitStack() as locks:
        for path in {layout.lock(state, name) for name in ("node", "receiver")} | set(state.glob("worker-*.lock")):
            locks.enter_context(process.exclusive(path))
        rebuilt = None if _is_whole(state) else _ledger_anew(config)
        _put_aside(layout.workflow_file(state))
        migrate(state)
        _hand_in(state)
    return rebuilt


def _is_whole(state: Path) -> bool:
    try:
        database.require_whole(layout.ledger_file(state))
    except DatabaseDamaged:
        return False
    return layout.ledger_file(state).exists() and layout.ledger_file(state).stat().st_size > 0


def _ledger_anew(config: Config) -> Rebuilt:
    state = config.node.state
    path = layout.ledger_file(state)
    new = path.with_name("ledger-new.db")
    for companion in _COMPANIONS:
        new.with_name(new.name + companion).unlink(missing_ok=True)
    with closing(Ledger(f"sqlite:///{new.absolute()}")) as ledger:
        rebuilt = rebuild(state / "inbox", layout.open_outbox(state), ledger, config.node.ae_title)
        rebuilt = replace(rebuilt, kept=carry_over(path, ledger, config.worklist.keep_days * 86400))
    _put_aside(path)
    durable.sync(new)  # closed, it has no journal any more
    durable.move(new, path)
    return rebuilt


def _put_aside(path: Path) -> None:
    stamp = time.strftime("%Y%m%d-%H%M%S")
    for companion in _COMPANIONS:
        file = path.with_name(path.name + companion)
        if file.exists():
            durable.move(file, path.with_name(f"{path.stem}-damaged-{stamp}{path.suffix}{companion}"))


def _hand_in(state: Path) -> None:
    """Hand the engine what the ledger says is still to do; studies that wait are the receiver's to hand in."""
    with closing(layout.open_ledger(state)) as ledger, closing(Jobs(state)) as jobs:
        for entry in ledger.generations(states=[State.PROCESSING]):
            ledger.set_state(entry.study_uid, entry.number, State.COMPLETE)
        for entry in ledger.generations(states=[State.DONE]):
            own = {result.sop_uid for result in ledger.results(entry.study_uid, entry.number)}
            for delivery in ledger.deliveries(entry.study_uid, _WAITING):
                if delivery.sop_uid in own:
                    jobs.retry_delivery(entry.study_uid, delivery.sop_uid, delivery.destination)
