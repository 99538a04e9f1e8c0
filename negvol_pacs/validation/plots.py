"""Pictures of the report."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from negvol_pacs.joint.findings import Quantity
from negvol_pacs.validation.check import Check

PANELS = (Quantity.NV_VOLUME, Quantity.NV_AREA, Quantity.FW, Quantity.FD, Quantity.SJS, Quantity.LJS)
_DPI = 100


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


def scatter(values: Mapping[str, Sequence[float | None]], spacings: Sequence[str], title: str, path: Path) -> None:
    """Draw each measure in each pose, by grid."""
    columns = 4
    rows = -(-len(values) // columns)
    figure = Figure(figsize=(4 * columns, 2.8 * rows), layout="constrained")
    figure.suptitle(title)
    names = list(dict.fromkeys(spacings))
    axes = np.ravel(figure.subplots(rows, columns))
    for panel, (key, found) in zip(axes, values.items(), strict=False):
        for k, name in enumerate(names):
            own = [v for v, s in zip(found, spacings, strict=True) if s == name and v is not None]
            panel.plot(k + np.linspace(-0.2, 0.2, len(own)), own, "o", markersize=4)
        panel.set(title=key, xticks=range(len(names)))
        panel.set_xticklabels(names, fontsize="x-small")
    for panel in axes[len(values) :]:
        panel.axis("off")
    _save(figure, path)


def _save(figure: Figure, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    FigureCanvasAgg(figure).print_figure(path, dpi=_DPI, format="png", metadata={"Software": None})
