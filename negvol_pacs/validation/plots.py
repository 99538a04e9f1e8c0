"""Pictures of the report."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from negvol_pacs.joint.findings import Quantity
from negvol_pacs.validation.check import Check
from negvol_pacs.validation.reposing import KEYS, Study, label

PANELS = (Quantity.NV_VOLUME, Quantity.NV_AREA, Quantity.FW, Quantity.FD, Quantity.SJS, Quantity.LJS)
_DPI = 100
MARKERS = "osD^v"


def convergence(checks: Sequence[Check], path: Path) -> None:
    """Draw the errors of some measures against the spacing, with their limits."""
    figure = Figure(figsize=(12, 7), layout="constrained")
    for axes, quantity in zip(np.ravel(figure.subplots(2, 3)), PANELS, strict=True):
        own = [c for c in checks if c.section == "Accuracy" and c.quantity == quantity.label and c.error is not None]
        for subject in dict.fromkeys(check.subject for check in own):
            line = [(float(c.setting.split()[0]), c.error) for c in own if c.subject == subject]
            axes.plot(*zip(*sorted(line), strict=True), "o-", label=subject)
        for limit in {s * check.limit for check in own for s in (-1, 1)}:
            axes.axhline(limit, color="0.5", linestyle="--")
        axes.axhline(0, color="0.8")
        axes.set(title=quantity.label, xlabel="spacing, mm", ylabel=f"error, {own[0].unit}" if own else "")
        if own:
            axes.legend(fontsize="x-small")
    _save(figure, path)


def reposing(study: Study, path: Path) -> None:
    """Draw each limited measure against the pose, marked by grid, with the mean and the limit of the scatter."""
    keys = [key for key in KEYS if key[0] in study.limits]
    columns = 4
    rows = -(-len(keys) // columns)
    figure = Figure(figsize=(4 * columns, 2.6 * rows + 0.8), layout="constrained")
    figure.suptitle(f"{study.name}: mean, and mean ± limit of the scatter")
    axes = np.ravel(figure.subplots(rows, columns))
    grids = list(dict.fromkeys(pose.grid for pose in study.poses))
    for panel, key in zip(axes, keys, strict=False):
        values = np.array([np.nan if v is None else v for v in study.values(key)])
        for grid, marker in zip(grids, MARKERS, strict=False):
            own = [pose.grid == grid for pose in study.poses]
            panel.plot(np.flatnonzero(own) + 1, values[own], marker, markersize=5, label=f"{grid} mm")
        limit, unit = study.limits[key[0]]
        mean = float(np.nanmean(values)) if np.isfinite(values).any() else 0.0
        panel.axhline(mean, color="0.6")
        for sign in (-1, 1):
            panel.axhline(mean + sign * limit * (mean / 100 if unit == "%" else 1), color="0.6", linestyle="--")
        panel.set(title=label(key), xlabel="pose", ylabel=key[0].unit.strip("{}"))
    for panel in axes[len(keys) :]:
        panel.axis("off")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=len(grids))
    _save(figure, path)


def _save(figure: Figure, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    FigureCanvasAgg(figure).print_figure(path, dpi=_DPI, format="png", metadata={"Software": None})
