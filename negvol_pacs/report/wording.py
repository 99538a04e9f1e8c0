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
    Quantity.MJS: "Medial joint space (MJS)",
    Quantity.CJS: "Central joint space (CJS)",
    Quantity.LJS: "Lateral joint space (LJS)",
    Quantity.HCA: "Horizontal condylar angle (HCA)",
    Quantity.SRA: "Sagittal ramus angle (SRA)",
    Quantity.NV_VOLUME: "Negative volume (NV)",
    Quantity.NV_AREA: "Surface area of NV",
    Quantity.JSW_P05: "Width of joint space, 5 % (JSW)",
    Quantity.JSW_P25: "Width of joint space, 25 %",
    Quantity.JSW_P50: "Width of joint space, median",
    Quantity.JSW_P75: "Width of joint space, 75 %",
    Quantity.JSW_P95: "Width of joint space, 95 %",
    Quantity.HEAD_VOLUME: "Volume of condylar head",
    Quantity.HEAD_AREA: "Surface area of condylar head",
    Quantity.FOSSA_AREA: "Surface area of fossa in the joint",
    Quantity.SPHERE: "Sphere minus bones, for comparison",
    Quantity.MC_DICE: "Predicted Dice, condyle",
    Quantity.TB_DICE: "Predicted Dice, temporal bone",
    Quantity.S_LR: "Area ratio (S_LR)",
    Quantity.H_LR: "Hausdorff distance (H_LR)",
    Quantity.H95_LR: "95 % Hausdorff distance (H95_LR)",
    Quantity.D_LR: "Mean surface distance (D_LR)",
    Quantity.W_LR: "Sliced Wasserstein distance (W_LR)",
    Quantity.AXIS: "Uncertainty of transverse axis",
}

UNITS = {
    "deg": "\N{DEGREE SIGN}",
    "mm": "mm",
    "mm2": "mm\N{SUPERSCRIPT TWO}",
    "mm3": "mm\N{SUPERSCRIPT THREE}",
    "{ratio}": "",
}

_DECIMALS = {"mm2": 0, "mm3": 0}
_FINE = (
    *(Quantity.MC_DICE, Quantity.TB_DICE),
    *(Quantity.S_LR, Quantity.H_LR, Quantity.H95_LR, Quantity.D_LR, Quantity.W_LR),
)


def number(measurement: Measurement | None) -> str:
    """Value with its deviation, a dash when missing, an asterisk when doubtful."""
    if measurement is None or measurement.value is None:
        return MISSING
    decimals = 2 if measurement.quantity in _FINE else _DECIMALS.get(measurement.quantity.unit, 1)
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
