"""The ledger made anew from the images in the inbox and the results in the outbox, when it is damaged or gone."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import product
from pathlib import Path

from pydicom import dcmread

from negvol_pacs.errors import MALFORMED, MalformedObject
from negvol_pacs.storage.ledger import Ledger
from negvol_pacs.storage.orphans import read_entry
from negvol_pacs.storage.outbox import Outbox
from negvol_pacs.storage.place import OBJECTS
from negvol_pacs.storage.records import Outcome, Result, ResultKind

_ASSOCIATION = "rebuilt"


@dataclass(frozen=True)
class Rebuilt:
    """What was found in the inbox.

    Attributes
    ----------
    studies, instances, results
        How many are in the ledger now.
    left
        Files that were left out, and why.
    kept
        What else was read of the damaged ledger: see `salvage.carry_over`.
    """

    studies: int
    instances: int
    results: int
    left: dict[Path, str]
    kept: Counter[str] = field(default_factory=Counter)


def rebuild(inbox: Path, outbox: Outbox, ledger: Ledger, called_ae: str) -> Rebuilt:
    """Enter all results of an outbox, then every whole image of an inbox, into an empty ledger.

    A file's name holds the hash of its data set: one that no longer fits is damaged and left out.
    The images of a study with results are its next generation: they are measured again, and what
    comes out the same is the object that was sent before.

    Parameters
    ----------
    inbox
        Its folder.
    outbox
        Results of all generations; those that retention left, too.
    ledger
        Empty.
    called_ae
        Stands for the AE title that was called where a file does not tell.
    """
    left: dict[Path, str] = {}
    results = list(_results(outbox, left))
    ledger.record_former_life(results)
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
    return Rebuilt(len(studies), count, len(results), left)


def _results(outbox: Outbox, left: dict[Path, str]) -> Iterator[Result]:
    """Yield what the files of each generation say, those of earlier generations first; note what cannot be read."""
    former: dict[tuple[str, ResultKind], str] = {}
    for folder in outbox.folders():
        studies = set()
        for path in sorted(folder.glob("*.dcm")):
            try:
                study, kind, uid = _read(path, outbox)
            except (*MALFORMED, MalformedObject) as error:
                left[path] = f"it is no result: {error}"
                continue
            replaced = former.get((study, kind), uid)
            yield _result(outbox, path, study, kind, uid, () if replaced == uid else (replaced,))
            former[study, kind] = uid
            studies.add(study)
        for path, study in product(folder.glob("*.png"), studies):
            yield _result(outbox, path, study, ResultKind.PNG, "", ())


def _read(path: Path, outbox: Outbox) -> tuple[str, ResultKind, str]:
    """Return study, kind and UID of a result."""
    ds = dcmread(path)  # to its end: half a file is no result
    study = str(ds.StudyInstanceUID)
    if outbox.folder(study, int(path.parent.name)) != path.parent:
        raise MalformedObject("it is of another study")
    return study, ResultKind(ds.Modality), str(ds.SOPInstanceUID)


def _result(outbox: Outbox, path: Path, study: str, kind: ResultKind, uid: str, former: tuple[str, ...]) -> Result:  # noqa: PLR0917
    number, made = int(path.parent.name), path.stat().st_mtime
    return Result(study, number, kind, uid, outbox.relative(path), "", former, made)
