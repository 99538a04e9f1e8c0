"""Where the node keeps what, below its state folder."""

from pathlib import Path

from negvol_pacs.config import Config
from negvol_pacs.storage.inbox import Inbox
from negvol_pacs.storage.ledger import Ledger
from negvol_pacs.storage.outbox import Outbox


def open_ledger(state: Path) -> Ledger:
    """Open the ledger, and make it where missing."""
    return Ledger(f"sqlite:///{(state / 'ledger.db').absolute()}")


def open_inbox(config: Config, ledger: Ledger) -> Inbox:
    """Open the inbox."""
    return Inbox(config.node.state / "inbox", ledger, config.limits.min_free_bytes)


def open_outbox(state: Path) -> Outbox:
    """Open the outbox."""
    return Outbox(state / "outbox")


def lock(state: Path, name: str) -> Path:
    """File whose lock the process of this name holds."""
    return state / f"{name}.lock"
