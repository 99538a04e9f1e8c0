"""A part of the report, which is made and kept on its own: the whole takes an hour."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter

from negvol_pacs.validation.check import Check


@dataclass(frozen=True)
class Part:
    """Checks, and what the report says to them.

    Attributes
    ----------
    checks
        For the tables of their sections.
    section, lines
        Lines of Markdown that follow the table of a section.
    """

    checks: Sequence[Check]
    section: str = ""
    lines: Sequence[str] = ()


_JSON = TypeAdapter(Part)


def kept(path: Path, make: Callable[[], Part], *, resume: bool) -> Part:
    """Make a part and keep it, or take the one that was kept.

    Parameters
    ----------
    path
        JSON file.
    make
        Makes the part.
    resume
        Whether a kept one will do.
    """
    if resume and path.exists():
        return _JSON.validate_json(path.read_bytes())
    part = make()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(_JSON.dump_json(part, indent=1))
    return part
