"""The ledger made anew from the images in the inbox, when its database is damaged or gone."""

from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path

from negvol_pacs.errors import MalformedObject
from negvol_pacs.storage.ledger import Ledger
from negvol_pacs.storage.orphans import read_entry
from negvol_pacs.storage.place import OBJECTS
from negvol_pacs.storage.records import Outcome

_ASSOCIATION = "rebuilt"


@dataclass(frozen=True)
class Rebuilt:
    """What was found in the inbox.

    Attributes
    ----------
    studies, instances
        How many are in the ledger now.
    left
        Files that were left out, and why.
    kept
        What else was read of the damaged ledger: see `salvage.carry_over`.
    """

    studies: int
    instances: int
    left: dict[Path, str]
    kept: Counter[str] = field(default_factory=Counter)


def rebuild(inbox: Path, ledger: Ledger, called_ae: str) -> Rebuilt:
    """Enter every whole image of an inbox into an empty ledger.

    A file's name holds the hash of its data set: one that no longer fits is damaged and left out.

    Parameters
    ----------
    inbox
        Its folder.
    ledger
        Empty.
    called_ae
        Stands for the AE title that was called where a file does not tell.
    """
    left: dict[Path, str] = {}
    studies, count = set(), 0
    for path in sorted((inbox / OBJECTS).rglob("*.dcm"), key=lambda path: path.stat().st_mtime):
        try:
            found = read_entry(path, inbox, _ASSOCIATION)
        except MalformedObject as error:
            left[path] = str(error)
            continue
        outcome, _ = ledger.record_instance(replace(found, called_ae=found.called_ae or called_ae))
        if outcome is Outcome.CONFLICT:
            left[path] = "an image with the same SOP Instance UID came before"
        else:
            studies.add(found.study_uid)
            count += 1
    ledger.association_ended(_ASSOCIATION)
    return Rebuilt(len(studies), count, left)
