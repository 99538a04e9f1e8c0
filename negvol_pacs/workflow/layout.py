"""Where the node keeps what, below its state folder."""

from pathlib import Path

from negvol_pacs.config import Config
from negvol_pacs.errors import DatabaseDamaged
from negvol_pacs.storage import database
from negvol_pacs.storage.database import REMEDY
from negvol_pacs.storage.inbox import Inbox
from negvol_pacs.storage.ledger import Ledger
from negvol_pacs.storage.outbox import Outbox
from negvol_pacs.storage.place import OBJECTS


def require_whole(state: Path) -> None:
    """Refuse a state whose databases are damaged, or whose ledger is gone while its images are there.

    Raises
    ------
    DatabaseDamaged
        Which one, and what to do.
    """
    ledger, objects = ledger_file(state), state / "inbox" / OBJECTS
    if not (ledger.exists() and ledger.stat().st_size) and objects.is_dir() and any(objects.iterdir()):
        raise DatabaseDamaged(f"there are images in {objects}, but no ledger {ledger}; {REMEDY}")
    for path in (ledger, workflow_file(state)):
        database.require_whole(path)


def ledger_file(state: Path) -> Path:
    """Return the ledger's database."""
    return state / "ledger.db"


def workflow_file(state: Path) -> Path:
    """Return the workflow engine's database."""
    return state / "workflow.db"


def open_ledger(state: Path, *, read_only: bool = False) -> Ledger:
    """Open the ledger, and make it where missing unless it is only to be read."""
    return Ledger(f"sqlite:///{ledger_file(state).absolute()}", read_only=read_only)


def open_inbox(config: Config, ledger: Ledger) -> Inbox:
    """Open the inbox."""
    return Inbox(config.node.state / "inbox", ledger, config.limits.min_free_bytes)


def open_outbox(state: Path) -> Outbox:
    """Open the outbox."""
    return Outbox(state / "outbox")


def lock(state: Path, name: str) -> Path:
    """File whose lock the process of this name holds."""
    return state / f"{name}.lock"
