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


@dataclass(frozen=True)
class _Kept:
    key: str
    part: Part


_JSON = TypeAdapter(_Kept)


def kept(path: Path, make: Callable[[], Part], key: str, *, resume: bool) -> Part:
    """Make a part and keep it, or take the one that was kept.

    Parameters
    ----------
    path
        JSON file.
    make
        Makes the part.
    key
        What it is made by; one that was made by something else is made anew.
    resume
        Whether a kept one will do.
    """
    if resume and path.exists():
        known = _JSON.validate_json(path.read_bytes())
        if known.key == key:
            return known.part
    part = make()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(_JSON.dump_json(_Kept(key, part), indent=1))
    return part
