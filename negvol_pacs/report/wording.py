"""Numbers and reasons as people read them."""

from collections.abc import Iterable

from negvol_pacs.joint.findings import Measurement, Quantity
from negvol_pacs.quality import QualityFlag

NOTICE = "Research use only - not for diagnosis or treatment"

MISSING = "\N{EM DASH}"

NAMES = {
    Quantity.FW: "Fossa width (FW)",
    Quantity.FD: "Fossa depth (FD)",
    Quantity.AJS: "Anterior joint space (AJS)",
    Quantity.SJS: "Superior joint space (SJS)",
    Quantity.PJS: "Posterior joint space (PJS)",
    Quantity.NV_VOLUME: "Negative volume (NV)",
    Quantity.NV_AREA: "Surface area of NV",
    Quantity.S_LR: "Area ratio (S_LR)",
    Quantity.H_LR: "Hausdorff distance (H_LR)",
}

UNITS = {"mm": "mm", "mm2": "mm\N{SUPERSCRIPT TWO}", "mm3": "mm\N{SUPERSCRIPT THREE}", "{ratio}": ""}

_DECIMALS = {Quantity.NV_VOLUME: 0, Quantity.NV_AREA: 0, Quantity.S_LR: 2, Quantity.H_LR: 2}


def number(measurement: Measurement | None) -> str:
    """Value with its deviation, a dash when missing, an asterisk when doubtful."""
    if measurement is None or measurement.value is None:
        return MISSING
    decimals = _DECIMALS.get(measurement.quantity, 1)
    text = f"{measurement.value:.{decimals}f}"
    if measurement.sd is not None:
        text += f" \N{PLUS-MINUS SIGN} {measurement.sd:.{decimals}f}"
    return text + ("*" if measurement.flags else "")


def difference(measurement: Measurement) -> str:
    """Write a change with its sign."""
    text = number(measurement)
    return text if measurement.value is None or text.startswith("-") else f"+{text}"


def sentences(flags: Iterable[QualityFlag]) -> str:
    """Reasons in a fixed order, joined by semicolons."""
    return "; ".join(flag.value for flag in QualityFlag if flag in set(flags))
