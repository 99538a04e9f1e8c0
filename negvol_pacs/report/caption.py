"""Header and caption of the picture: names, numbers, flags, notice."""

from textwrap import fill, shorten

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from negvol_pacs.anatomy import Side, Structure
from negvol_pacs.joint.findings import Findings, Quantity
from negvol_pacs.quality import QualityFlag
from negvol_pacs.report.palette import DIM, INK, WARNING, rgb
from negvol_pacs.report.wording import NOTICE, UNITS, number, sentences

_SIDED = {
    Quantity.FW: 0.108,
    Quantity.FD: 0.152,
    Quantity.AJS: 0.2,
    Quantity.SJS: 0.244,
    Quantity.PJS: 0.288,
    Quantity.MJS: 0.332,
    Quantity.CJS: 0.376,
    Quantity.LJS: 0.42,
    Quantity.HCA: 0.468,
    Quantity.SRA: 0.512,
    Quantity.NV_VOLUME: 0.572,
    Quantity.NV_AREA: 0.637,
}
_BOTH = {Quantity.S_LR: 0.7, Quantity.H_LR: 0.77}
_ROWS = (0.86, 0.66, 0.51)


def draw_header(figure: Figure, title: str, headings: list[tuple[float, float, str]]) -> None:
    """Write the title, the notice, the legend and the columns' headings."""
    figure.text(0.035, 0.975, shorten(title, 90, placeholder=" ..."), color=INK, size=16, weight="bold", va="center")
    figure.text(0.992, 0.975, NOTICE.upper(), color=WARNING, size=11, weight="bold", ha="right", va="center")
    for x, y, text in headings:
        figure.text(x, y, text, color=DIM, size=11, ha="center", va="bottom")


def draw_caption(axes: Axes, findings: Findings) -> None:
    """Write the numbers of both joints, what doubts there are, and the legend."""
    axes.set_axis_off()
    axes.set(xlim=(0, 1), ylim=(0, 1))
    for y, side in zip(_ROWS[1:], (Side.RIGHT, Side.LEFT), strict=True):
        axes.text(0.036, y, side.capitalize(), color=INK, size=12.5, weight="bold", va="center")
    for quantity, x in _SIDED.items():
        _head(axes, x, quantity)
        for y, side in zip(_ROWS[1:], (Side.RIGHT, Side.LEFT), strict=True):
            measurement = findings.joints[side].measurements.get(quantity)
            doubtful = measurement is None or bool(measurement.flags)
            axes.text(x, y, number(measurement), color=WARNING if doubtful else INK, size=13, ha="center", va="center")
    for quantity, x in _BOTH.items():
        _head(axes, x, quantity)
        measurement = findings.symmetry.measurements.get(quantity)
        doubtful = measurement is None or bool(measurement.flags)
        colour = WARNING if doubtful else INK
        axes.text(x, sum(_ROWS[1:]) / 2, number(measurement), color=colour, size=13, ha="center", va="center")
    axes.plot([0.035, 0.81], [0.765, 0.765], color="#2b313b", lw=1)
    axes.text(0.036, 0.40, _doubts(findings), color=WARNING, size=10.5, va="top", linespacing=1.4)
    _legend(axes)


def _head(axes: Axes, x: float, quantity: Quantity) -> None:
    axes.text(x, _ROWS[0] + 0.035, quantity.label, color=DIM, size=11, ha="center", va="center")
    axes.text(x, _ROWS[0] - 0.035, UNITS[quantity.unit], color=DIM, size=9.5, ha="center", va="center")


def _doubts(findings: Findings) -> str:
    """Reasons for missing and doubtful numbers: a line for the series, each side and both."""
    lines = [f"Series: {sentences(findings.flags)}."] if findings.flags else []
    for side in (Side.RIGHT, Side.LEFT):
        joint = findings.joints[side]
        known = joint.flags | findings.flags
        parts = [f"{sentences(joint.flags)}."] if joint.flags else []
        parts += _by_reason({q: m.flags - known for q, m in joint.measurements.items()})
        lines += [f"{side.capitalize()}: {' '.join(parts)}"] if parts else []
    lines += _by_reason({q: m.flags for q, m in findings.symmetry.measurements.items()})
    return "\n".join(fill(line, 180) for line in lines) or "No quality flags."


def _by_reason(reasons: dict[Quantity, frozenset[QualityFlag]]) -> list[str]:
    """Name each reason once, after all the quantities that have it."""
    grouped: dict[str, list[str]] = {}
    for quantity, flags in reasons.items():
        if flags:
            grouped.setdefault(sentences(flags), []).append(quantity.label)
    return [f"{', '.join(labels)}: {reason}." for reason, labels in grouped.items()]


def _legend(axes: Axes) -> None:
    for y, structure in zip(_ROWS, (Structure.NV, Structure.MC, Structure.TB), strict=True):
        axes.plot(0.848, y, "s", ms=10, color=rgb(structure))
        axes.text(0.859, y, f"{structure.value.capitalize()} ({structure.name})", color=DIM, size=10.5, va="center")
