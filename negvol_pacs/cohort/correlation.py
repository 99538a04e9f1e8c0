"""Correlation of all measures (Belikova et al. 2021, Fig. 5b)."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from negvol_pacs.cohort.figures import new_figure, save
from negvol_pacs.cohort.table import Measure, values

LEAST_PAIRS = 5
"""Fewer studies than these say nothing about a correlation: two points always lie on a line."""
_MOST_WRITTEN = 30


def correlate(table: pd.DataFrame, columns: Sequence[Measure], *, flagged: bool = False) -> pd.DataFrame:
    """Pearson's correlation of each two measures, over the studies that have both.

    Parameters
    ----------
    table
        Of :func:`negvol_pacs.cohort.table.build_table`.
    columns
        The measures.
    flagged
        Whether doubtful values take part.

    Returns
    -------
    pandas.DataFrame
        Symmetric; NaN where fewer than `LEAST_PAIRS` studies have both, or one never varies.
        Measures without any number are left out.
    """
    numbers = pd.DataFrame({column.label: values(table, column, flagged=flagged) for column in columns})
    with np.errstate(invalid="ignore", divide="ignore"):  # a measure that never varies
        found = numbers.corr(min_periods=LEAST_PAIRS)
    kept = found.columns[found.notna().any()]
    return found.loc[kept, kept]


def draw_correlation(correlation: pd.DataFrame, path: Path, note: str) -> None:
    """Draw the heat map; a dot where it is not known."""
    count = len(correlation)
    size = 3.2 + 0.36 * count
    figure = new_figure(size + 1.0, size)
    axes = figure.add_subplot()
    axes.set_facecolor("#eceef1")
    image = axes.imshow(correlation.to_numpy(), cmap="RdBu_r", vmin=-1, vmax=1)
    for (row, column), value in np.ndenumerate(correlation.to_numpy()):
        if np.isnan(value):
            axes.text(column, row, "·", ha="center", va="center", color="#8a8f98", fontsize=8)
        elif count <= _MOST_WRITTEN:
            ink = "white" if abs(value) > 0.6 else "black"
            axes.text(column, row, f"{value:.2f}", ha="center", va="center", color=ink, fontsize=6.5)
    axes.set_xticks(range(count), list(correlation.columns), rotation=90, fontsize=8)
    axes.set_yticks(range(count), list(correlation.columns), fontsize=8)
    axes.set_title("Correlation of the measures (Pearson)", fontsize=11)
    figure.colorbar(image, ax=axes, shrink=0.7)
    save(figure, path, note)
