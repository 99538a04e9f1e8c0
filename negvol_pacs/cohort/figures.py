"""What the pictures of a cohort share."""

from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from negvol_pacs.report.wording import NOTICE

RIGHT, LEFT, BOTH = "#0072b2", "#d55e00", "#333333"
"""Okabe and Ito's colours, which the colour-blind tell apart."""
GREY = "#8a8f98"


def new_figure(width_in: float, height_in: float) -> Figure:
    """Make a figure that lays itself out."""
    figure = Figure(figsize=(width_in, height_in), dpi=130, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def save(figure: Figure, path: Path, note: str) -> None:
    """Write a PNG with the notice and a note of what it shows below it."""
    figure.supxlabel(f"{note}\n{NOTICE}", fontsize=8, color=GREY)
    figure.savefig(path, format="png", metadata={"Software": None})


def bare(axes: Axes) -> None:
    """Take away the frame's upper and right side."""
    axes.spines[["top", "right"]].set_visible(False)
