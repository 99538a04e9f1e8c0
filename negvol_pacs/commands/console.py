"""What the commands share: where they print, which file configures them, how they end."""

from pathlib import Path
from typing import Annotated, NoReturn

import typer
from rich.console import Console

from negvol_pacs.errors import AlreadyRunning, DatabaseDamaged, DiskFull, NegvolError, NetworkError, SeriesRefused
from negvol_pacs.workflow.process import Exit

out = Console(highlight=False)
err = Console(stderr=True, highlight=False)

ConfigFile = Annotated[
    Path, typer.Option("--config", "-c", envvar="NEGVOL_CONFIG", help="Configuration file.", show_default=True)
]
DEFAULT_CONFIG = Path("config.toml")

_CODES: tuple[tuple[type[NegvolError], Exit], ...] = (
    (SeriesRefused, Exit.REFUSED),
    (NetworkError, Exit.NETWORK),
    (DiskFull, Exit.DISK_FULL),
    (DatabaseDamaged, Exit.DAMAGED),
    (AlreadyRunning, Exit.ALREADY_RUNNING),
)


def exit_code(error: NegvolError) -> Exit:
    """Exit code that stands for an error."""
    return next((code for kind, code in _CODES if isinstance(error, kind)), Exit.ERROR)


def complain(message: str) -> None:
    """Print a sentence on standard error."""
    err.print(message, style="red", markup=False, soft_wrap=True)


def fail(message: str, code: Exit) -> NoReturn:
    """Print one sentence on standard error and end with the code."""
    complain(message)
    raise typer.Exit(code)
