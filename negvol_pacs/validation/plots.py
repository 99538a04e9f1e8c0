"""Pictures of the report."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from negvol_pacs.joint.findings import Quantity
from negvol_pacs.segmentation.confidence import LIMITS as DICE_LIMITS
from negvol_pacs.validation.check import Check
from negvol_pacs.validation.confidence import BONES, Outcome
from negvol_pacs.validation.reposing import KEYS, Study, label
from negvol_pacs.validation.severity import LENGTH_LIMIT_MM, VOLUME_LIMIT, Curve

PANELS = (Quantity.NV_VOLUME, Quantity.NV_AREA, Quantity.FW, Quantity.FD, Quantity.SJS, Quantity.LJS)
CURVES = (
    Quantity.NV_VOLUME,
    Quantity.NV_AREA,
    Quantity.HEAD_VOLUME,
    Quantity.FW,
    Quantity.FD,
    Quantity.AJS,
    Quantity.SJS,
    Quantity.PJS,
    Quantity.MJS,
    Quantity.LJS,
    Quantity.JSW_P50,
    Quantity.HCA,
    Quantity.SRA,
    Quantity.S_LR,
    Quantity.H_LR,
    Quantity.D_LR,
)
LIMITS = {"%": VOLUME_LIMIT, "mm": LENGTH_LIMIT_MM}
_DPI = 100
_LEAST = 1e-3
MARKERS = "osD^v"


def convergence(checks: Sequence[Check], path: Path) -> None:
    """Draw the errors of some measures against the spacing, with their limits."""
    figure = Figure(figsize=(12, 7), layout="constrained")
    for axes, quantity in zip(np.ravel(figure.subplots(2, 3)), PANELS, strict=True):
        own = [c for c in checks if c.section == "Accuracy" and c.quantity == quantity.label and c.error is not None]
        for subject in dict.fromkeys(check.subject for check in own):
            line = [(float(c.setting.split()[0]), c.error) for c in own if c.subject == subject]
            axes.plot(*zip(*sorted(line), strict=True), "o-", label=subject)
        limits = sorted({(float(c.setting.split()[0]), c.limit) for c in own if c.limit is not None})
        for sign in (-1, 1):
            axes.plot([at for at, _ in limits], [sign * limit for _, limit in limits], color="0.5", linestyle="--")
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


def severity(curve: Curve, path: Path) -> None:
    """Draw the error of each measure against an artefact's severity; flagged numbers are hollow."""
    keys = [key for key in curve.steps[0] if key[1] in CURVES]
    quantities = [quantity for quantity in CURVES if any(key[1] is quantity for key in keys)]
    columns = 4
    figure = Figure(figsize=(4 * columns, 2.8 * -(-len(quantities) // columns)), layout="constrained")
    figure.suptitle(f"{curve.artefact.name}: error against severity, {curve.artefact.unit}; hollow: flagged")
    axes = np.ravel(figure.subplots(-(-len(quantities) // columns), columns))
    for panel, quantity in zip(axes, quantities, strict=False):
        for key in (key for key in keys if key[1] is quantity):
            line = [
                (severity, step[key].error, bool(step[key].flags))
                for severity, step in zip(curve.severities, curve.steps, strict=True)
                if step[key].error is not None
            ]
            _flagged_line(panel, line, "both" if key[0] is None else str(key[0]))
        unit = "%" if quantity.unit in {"mm2", "mm3"} else quantity.unit
        limit = LIMITS.get(unit)
        for height in (-limit, limit) if limit else ():
            panel.axhline(height, color="0.5", linestyle="--")
        panel.axhline(0, color="0.8")
        panel.set(
            title=quantity.label if unit == "{ratio}" else f"{quantity.label}, {unit}", xlim=_room(curve.severities)
        )
        panel.legend(fontsize="x-small")
    for panel in axes[len(quantities) :]:
        panel.axis("off")
    _save(figure, path)


def confidence(outcomes: Sequence[Outcome], path: Path) -> None:
    """Draw predicted against true Dice of both bones; axes are logarithmic in what is missing to 1."""
    figure = Figure(figsize=(10, 4.8), layout="constrained")
    figure.suptitle("1 - Dice, predicted and true; dashed: limit of the quality flag")
    spoiled = list(dict.fromkeys(outcome.spoiled for outcome in outcomes))
    for axes, bone in zip(figure.subplots(1, 2), BONES, strict=True):
        for number, kind in enumerate(spoiled):
            own = [outcome for outcome in outcomes if outcome.spoiled == kind]
            xs, ys = ([max(1 - getattr(o, which)[bone], _LEAST) for o in own] for which in ("true", "predicted"))
            axes.plot(xs, ys, MARKERS[number % len(MARKERS)], color=f"C{number}", label=kind)
        axes.axline((0.01, 0.01), (0.1, 0.1), color="0.7")
        axes.axhline(1 - DICE_LIMITS[bone], color="0.5", linestyle="--")
        axes.axvline(1 - DICE_LIMITS[bone], color="0.5", linestyle="--")
        axes.set(xscale="log", yscale="log", title=bone.value, xlabel="1 - true Dice", ylabel="1 - predicted Dice")
    figure.legend(*axes.get_legend_handles_labels(), loc="outside right center")
    _save(figure, path)


def _flagged_line(panel: Any, line: Sequence[tuple[float, float | None, bool]], label: str) -> None:
    """Draw a line whose points are full, or hollow where the number is flagged."""
    (drawn,) = panel.plot([x for x, _, _ in line], [y for _, y, _ in line], "-", label=label)
    for flagged in (False, True):
        own = [(x, y) for x, y, held in line if held is flagged]
        face = "white" if flagged else drawn.get_color()
        panel.plot(*zip(*own, strict=True), "o", mec=drawn.get_color(), mfc=face) if own else None


def _room(severities: Sequence[float]) -> tuple[float, float]:
    margin = 0.05 * max(severities)
    return min(severities) - margin, max(severities) + margin


def _save(figure: Figure, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    FigureCanvasAgg(figure).print_figure(path, dpi=_DPI, format="png", metadata={"Software": None})
