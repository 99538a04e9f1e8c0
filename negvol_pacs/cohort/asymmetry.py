"""S_LR against H_LR, outliers by accession number (Belikova et al. 2021, Fig. 5)."""

from pathlib import Path

import numpy as np
import pandas as pd

from negvol_pacs.cohort.figures import BOTH, GREY, LEFT, bare, new_figure, save
from negvol_pacs.cohort.table import Measure, values
from negvol_pacs.joint.findings import Quantity

RATIO, DISTANCE = Measure(None, Quantity.S_LR), Measure(None, Quantity.H_LR)
LEAST_POINTS = 8
"""Quartiles of fewer studies say nothing."""


def outliers(table: pd.DataFrame, *, flagged: bool = False) -> "pd.Series[bool]":
    """Mark the studies whose S_LR or H_LR lies above Tukey's upper fence.

    The fence is the third quartile and 1.5 interquartile ranges (Tukey 1977). Small values of
    both are symmetric joints, so there is no lower fence. Without `LEAST_POINTS` studies that
    have both, nothing is marked.
    """
    points = _points(table, flagged=flagged)
    marked = pd.Series(data=False, index=table.index)
    if len(points) >= LEAST_POINTS:
        low, high = points.quantile(0.25), points.quantile(0.75)
        beyond = (points > high + 1.5 * (high - low)).any(axis=1)
        marked[beyond.index[beyond]] = True
    return marked


def draw_asymmetry(table: pd.DataFrame, path: Path, note: str, *, flagged: bool = False) -> bool:
    """Draw S_LR against H_LR; False, and no picture, where no study has both.

    Parameters
    ----------
    table
        Of :func:`negvol_pacs.cohort.table.build_table`.
    path
        PNG to write.
    note
        What is left out.
    flagged
        Whether doubtful values are drawn too, as rings.
    """
    points = _points(table, flagged=flagged)
    if points.empty:
        return False
    doubtful = (table.loc[points.index, [RATIO.flags, DISTANCE.flags]] != "").any(axis=1)
    far = outliers(table, flagged=flagged)[points.index]
    figure = new_figure(6.4, 5.4)
    axes = figure.add_subplot()
    for chosen, colour, name in ((~far, BOTH, "study"), (far, LEFT, "outlier")):
        solid, ring = points[chosen & ~doubtful], points[chosen & doubtful]
        if len(solid):
            axes.scatter(solid.iloc[:, 0], solid.iloc[:, 1], s=26, color=colour, alpha=0.8, label=name)
        if len(ring):
            axes.scatter(
                ring.iloc[:, 0], ring.iloc[:, 1], s=30, facecolors="none", edgecolors=colour, label=f"{name}, flagged"
            )
    for index in far.index[far]:
        _name(axes, points.loc[index], str(table.loc[index, "accession_number"]) or "no accession number")
    axes.set_xlabel("S_LR, larger NV area by smaller")
    axes.set_ylabel("H_LR, Hausdorff distance of the NV (mm)")
    axes.set_title(f"Asymmetry of {len(points)} studies", fontsize=11)
    axes.margins(0.12)
    axes.legend(fontsize=8, frameon=False, loc="lower right")
    axes.grid(color=GREY, alpha=0.2)
    bare(axes)
    save(figure, path, note)
    return True


def _name(axes, point: "pd.Series[float]", text: str) -> None:  # type: ignore[no-untyped-def]
    axes.annotate(text, tuple(np.asarray(point)), (5, 4), textcoords="offset points", fontsize=8, parse_math=False)


def _points(table: pd.DataFrame, *, flagged: bool) -> pd.DataFrame:
    if not {RATIO.value, DISTANCE.value} <= set(table.columns):
        return pd.DataFrame()
    both = {name.value: values(table, name, flagged=flagged) for name in (RATIO, DISTANCE)}
    return pd.DataFrame(both).dropna()
