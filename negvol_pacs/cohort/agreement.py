"""Repeated scans of a patient: Bland and Altman's limits of agreement (Lancet 1986)."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from negvol_pacs.anatomy import Side
from negvol_pacs.cohort.figures import BOTH, GREY, LEFT, RIGHT, bare, new_figure, save
from negvol_pacs.cohort.table import Measure, values
from negvol_pacs.joint.findings import Quantity
from negvol_pacs.report.document import Report

LEAST_PAIRS = 3
"""Fewer pairs have no limits of agreement."""
_COLUMNS = 4
_COLOURS = {Side.RIGHT: RIGHT, Side.LEFT: LEFT, None: BOTH}


@dataclass(frozen=True)
class Repeats:
    """Pairs of rows of a table: consecutive scans of one patient.

    Attributes
    ----------
    pairs
        Row of the earlier scan and row of the later one, measured by the same version and weights.
    incomparable
        Number of pairs left out because version or weights differ.
    """

    pairs: tuple[tuple[int, int], ...]
    incomparable: int


@dataclass(frozen=True)
class Agreement:
    """Mean difference, later minus earlier, and the limits between which 95 % of them lie."""

    bias: float
    lower: float
    upper: float


def find_repeats(reports: Sequence[Report]) -> Repeats:
    """Pair each scan with the same patient's next one, by study date.

    Patients are the same as :class:`negvol_pacs.report.patient.Patient` says; a report without
    a study date has no place in the order and no pair. Two series of one study follow each other
    by the time they were measured.
    """
    patients: dict[tuple[str, str, str], list[int]] = {}
    for row, report in enumerate(reports):
        if report.patient.key is not None and report.study_date is not None:
            patients.setdefault(report.patient.key, []).append(row)
    pairs = [
        pair
        for rows in patients.values()
        for ordered in [sorted(rows, key=lambda row: _order(reports[row]))]
        for pair in pairwise(ordered)
    ]
    same = [(a, b) for a, b in pairs if reports[a].algorithm == reports[b].algorithm]
    return Repeats(tuple(same), len(pairs) - len(same))


def _order(report: Report) -> tuple[str, str, str, str]:
    return (str(report.study_date), str(report.study_time), str(report.created), report.sop_instance_uid)


def agreement(differences: "pd.Series[float]") -> Agreement | None:
    """Limits of agreement of some differences, None for fewer than `LEAST_PAIRS`."""
    known = differences.dropna()
    if len(known) < LEAST_PAIRS:
        return None
    bias, reach = float(known.mean()), 1.96 * float(known.std(ddof=1))
    return Agreement(bias, bias - reach, bias + reach)


def draw_agreement(
    table: pd.DataFrame,
    columns: Sequence[Measure],
    repeats: Repeats,
    path: Path,
    note: str,
    *,
    flagged: bool = False,
) -> bool:
    """Draw a panel a quantity, right and left in it; False, and no picture, where no pair has numbers.

    Parameters
    ----------
    table
        Of :func:`negvol_pacs.cohort.table.build_table`, rows as `find_repeats` counts them.
    columns
        The measures.
    repeats
        The pairs.
    path
        PNG to write.
    note
        What is left out.
    flagged
        Whether doubtful values take part.
    """
    panels: dict[Quantity, list[tuple[Measure, pd.DataFrame]]] = {}
    for column in columns:
        points = paired(values(table, column, flagged=flagged), repeats)
        if len(points):
            panels.setdefault(column.quantity, []).append((column, points))
    if not panels:
        return False
    rows = -(-len(panels) // _COLUMNS)
    figure = new_figure(3.3 * min(len(panels), _COLUMNS), 2.8 * rows + 0.5)
    for number, measured in enumerate(panels.values(), start=1):
        _draw_panel(figure.add_subplot(rows, min(len(panels), _COLUMNS), number), measured)
    figure.suptitle("Repeated scans of a patient: later minus earlier", fontsize=11)
    save(figure, path, note)
    return True


def paired(numbers: "pd.Series[float]", repeats: Repeats) -> pd.DataFrame:
    """Mean and difference of each pair that has both numbers."""
    first, second = (numbers.to_numpy()[[pair[k] for pair in repeats.pairs]] for k in (0, 1))
    return pd.DataFrame({"mean": (first + second) / 2, "difference": second - first}).dropna()


def _draw_panel(axes: Axes, measured: Sequence[tuple[Measure, pd.DataFrame]]) -> None:
    for column, points in measured:
        name = str(column.side or "both")
        axes.scatter(points["mean"], points["difference"], s=18, color=_COLOURS[column.side], alpha=0.8, label=name)
    limits = agreement(pd.concat([points["difference"] for _, points in measured]))
    axes.axhline(0, color=GREY, lw=0.8)
    if limits is not None:
        axes.axhline(limits.bias, color="black", lw=1)
        for edge in (limits.lower, limits.upper):
            axes.axhline(edge, color="black", lw=1, ls="--")
        text = f"{limits.bias:+.3g}\n[{limits.lower:.3g}, {limits.upper:.3g}]"
        axes.text(0.98, 0.97, text, transform=axes.transAxes, ha="right", va="top", fontsize=7)
        reach = max(abs(limits.lower), abs(limits.upper), *(np.abs(p["difference"]).max() for _, p in measured))
        axes.set_ylim(-1.7 * reach or -1, 1.7 * reach or 1)
    column = measured[0][0]
    axes.set_title(column.quantity.label, fontsize=9)
    unit = f" ({column.unit})" if column.unit else ""
    axes.set_xlabel(f"mean{unit}", fontsize=8)
    axes.set_ylabel(f"difference{unit}", fontsize=8)
    axes.tick_params(labelsize=7)
    axes.margins(0.15)
    axes.legend(fontsize=6.5, frameon=False, loc="lower left", ncols=2)
    bare(axes)
