"""The files of a cohort: table and pictures."""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from negvol_pacs.cohort.agreement import draw_agreement, find_repeats
from negvol_pacs.cohort.asymmetry import draw_asymmetry, outliers
from negvol_pacs.cohort.correlation import correlate, draw_correlation
from negvol_pacs.cohort.table import Measure, build_table, measures
from negvol_pacs.errors import NothingFound
from negvol_pacs.report.collection import Collection


@dataclass(frozen=True)
class Cohort:
    """What was written.

    Attributes
    ----------
    table
        One row a report.
    files
        CSV, parquet and those pictures for which there was enough.
    notes
        Sentences on what is left out and why.
    """

    table: pd.DataFrame
    files: tuple[Path, ...]
    notes: tuple[str, ...]


def write_cohort(found: Collection, folder: Path, *, flagged: bool = False) -> Cohort:
    """Write ``cohort.csv``, ``cohort.parquet`` and the pictures.

    Parameters
    ----------
    found
        The reports.
    folder
        Where to; made where missing. Pictures of a former run are removed.
    flagged
        Whether doubtful values take part in the pictures.

    Raises
    ------
    NothingFound
        If there is no report.
    """
    if not found.reports:
        raise NothingFound("There is no report of this product.")
    folder.mkdir(parents=True, exist_ok=True)
    columns, table = measures(found.reports), build_table(found.reports)
    files = [folder / "cohort.csv", folder / "cohort.parquet"]
    table.to_csv(files[0], index=False)
    table.to_parquet(files[1], index=False)
    notes = [f"{len(found.reports)} reports", *_left_out(found)]
    kept, count = _doubtful(table, columns)
    notes.append(f"{count} of {kept + count} numbers are flagged and {'drawn' if flagged else 'not drawn'}")
    note = "; ".join(notes)

    correlation, asymmetry, repeated = (folder / f"{name}.png" for name in ("correlation", "asymmetry", "repeats"))
    for old in (correlation, asymmetry, repeated):
        old.unlink(missing_ok=True)
    matrix = correlate(table, columns, flagged=flagged)
    if len(matrix):
        draw_correlation(matrix, correlation, note)
    else:
        notes.append("too few studies for correlations")
    if draw_asymmetry(table, asymmetry, note, flagged=flagged):
        far = table.loc[outliers(table, flagged=flagged), "accession_number"]
        notes += [f"outliers: {', '.join(far)}"] if len(far) else []
    else:
        notes.append("no study has both S_LR and H_LR")
    repeats = find_repeats(found.reports)
    if repeats.incomparable:
        notes.append(f"{repeats.incomparable} repeated scans were measured by another version and are not compared")
    if not draw_agreement(table, columns, repeats, repeated, note, flagged=flagged):
        notes.append("no repeated scans to compare")
    files += [path for path in (correlation, asymmetry, repeated) if path.exists()]
    return Cohort(table, tuple(files), tuple(notes))


def _left_out(found: Collection) -> list[str]:
    notes = [f"{len(found.replaced)} replaced by later ones"] if found.replaced else []
    return notes + ([f"{len(found.unreadable)} unreadable"] if found.unreadable else [])


def _doubtful(table: pd.DataFrame, columns: list[Measure]) -> tuple[int, int]:
    """Count the numbers without and with flags."""
    clean = sum(int((table[c.value].notna() & (table[c.flags] == "")).sum()) for c in columns)
    every = sum(int(table[c.value].notna().sum()) for c in columns)
    return clean, every - clean
