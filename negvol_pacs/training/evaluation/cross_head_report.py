"""The part of a study's report on heads that were left out of training."""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from negvol_pacs.markdown import table
from negvol_pacs.training.evaluation.cross_head import CrossHead
from negvol_pacs.training.evaluation.run import Row
from negvol_pacs.training.recipe import TrainConfig
from negvol_pacs.training.shapes import NAMES

_Figure = tuple[str, Sequence[str], str, float, int]
_FIGURES: dict[str, tuple[_Figure, ...]] = {
    "bones": (
        ("MC Dice, % (goal 93)", ("MC",), "dice", 100, 1), ("MC HD95, mm", ("MC",), "hd95", 1, 1),
        ("TB Dice, % (goal 88)", ("TB",), "dice", 100, 1), ("TB HD95, mm", ("TB",), "hd95", 1, 1),
        ("GapDice, %", ("gap",), "gap_dice", 100, 1), ("NV Dice, % (goal 85)", ("NV",), "dice", 100, 1),
        ("NV Dice, surfaces snapped as in the pipeline, % (goal 85)", ("NV",), "snapped_dice", 100, 1),
        ("NV found, %", ("NV",), "found", 100, 0),
    ),
    "localizer": (
        ("Dice, %", ("right", "left"), "dice", 100, 1),
        ("Dice, %, sides mended", ("right", "left"), "mended_dice", 100, 1),
        ("Box of the plain answer, error of its centre, mm (goal 3)", ("right", "left"), "centre_mm", 1, 1),
        ("Box by the pipeline's rules, found, %", ("right", "left"), "located", 100, 0),
        ("Box by the pipeline's rules, error of its centre, mm (goal 3)", ("right", "left"), "located_mm", 1, 1),
    ),
}  # fmt: skip
"""Said, structures, figure, factor, digits."""
_POSES = {True: "as scanned", False: "deformed"}


_WHOLE = (
    ("Box of the localizer, error of its centre, mm (goal 3)", "box_mm", 1, 1),
    ("Box after a second look, error of its centre, mm (goal 3)", "centre_mm", 1, 1),
    ("MC Dice, % (goal 93)", "MC_dice", 100, 1), ("MC HD95, mm", "MC_hd95", 1, 1),
    ("TB Dice, % (goal 88)", "TB_dice", 100, 1), ("TB HD95, mm", "TB_hd95", 1, 1),
    ("NV Dice, % (goal 85)", "NV_dice", 100, 1), ("NV found, %", "NV_found", 100, 0),
    ("NV without a flag, % of those found", "NV_sure", 100, 0),
    ("NV Dice of these, %", "NV_sure_dice", 100, 1),
)  # fmt: skip


def cross_head_section(
    crossed: Sequence[CrossHead], report: Path, wholes: Mapping[str, Sequence[Row]]
) -> tuple[list[str], list[Path]]:
    """Write the section.

    Parameters
    ----------
    crossed
        Trainings, at least one.
    report
        The Markdown file: pictures are put beside it and bear its stem.
    wholes
        By the head's name, figures of whole scans of it.

    Returns
    -------
    tuple[list[str], list[Path]]
        Lines, and the pictures.
    """
    lines = [
        "## Cross-head",
        "",
        "Trained without a real head; tested on it, painted as in training: by all kinds of scanner. *As scanned*:",
        "turned and shifted, its own size and shape, the jaw where it is. *Deformed*: as in training, often with the",
        "mouth open. Mean ± standard deviation over the painted examples.",
    ]
    for network, figures in _FIGURES.items():
        crosses = [cross for cross in crossed if cross.recipe.network == network]
        own = [(cross, as_scanned) for cross in crosses for as_scanned in (True, False)]
        if own:
            rows = [["trained on", *(_trained_on(cross.recipe) for cross, _ in own)]]
            rows += [["steps, window", *(_size(cross.recipe) for cross, _ in own)]]
            tested = [_tested(*one) for one in own]
            rows += [["examples", *(_counts(network, found) for found in tested)]]
            rows += [[figure[0], *(_spread(found, *figure[1:]) for found in tested)] for figure in figures]
            names = (f"{', '.join(cross.recipe.without)} {_POSES[as_scanned]}" for cross, as_scanned in own)
            lines += ["", *table([f"{network}, left out:", *names], rows)]
    lines += _whole_heads(wholes) if wholes else []
    done = {(cross.recipe.network, cross.recipe.without) for cross in crossed}
    missing = [f"{network} without {name}" for network in _FIGURES for name in NAMES if (network, (name,)) not in done]
    lines += ["", f"Not done: {', '.join(missing)}."] if missing else []
    pictures = []
    for cross in crossed:
        if cross.picture is not None:
            name = "-".join(cross.recipe.without)
            picture = report.with_name(f"{report.stem}-without-{name}.png")
            pictures.append(Path(shutil.copyfile(cross.picture, picture)))
            lines += ["", f"![A joint of {name}]({picture.name})"]
    return lines, pictures


def _whole_heads(wholes: Mapping[str, Sequence[Row]]) -> list[str]:
    tables = {
        (name, str(scanner)): rows
        for name, found in wholes.items()
        for scanner, rows in pd.DataFrame(found).groupby("scanner", sort=False)
    }
    lines = [["joints", *(str(len(rows)) for rows in tables.values())]]
    lines += [
        [said, *(_values(rows.get(key), factor, digits) for rows in tables.values())]
        for said, key, factor, digits in _WHOLE
    ]
    return [
        "",
        "Whole heads as they were scanned, through the whole pipeline with both networks that do not know them: soft",
        "tissue, position and scanner are new in each scan. Truth: the label map, NV by inflation of it.",
        "",
        *table(["left out:", *(f"{name}, {scanner}" for name, scanner in tables)], lines),
    ]


def _trained_on(recipe: TrainConfig) -> str:
    real = [name for name in NAMES if name not in recipe.without]
    heads = ", ".join([*real, f"{recipe.heads} procedural"])
    return heads if recipe.start is None else f"{heads}; from the weights in {recipe.start}"


def _size(recipe: TrainConfig) -> str:
    spacing = f", {recipe.spacing_mm:g} mm" if recipe.network == "bones" else ""
    return f"{recipe.steps}, {recipe.window}³{spacing}"


def _tested(cross: CrossHead, as_scanned: bool) -> pd.DataFrame:
    rows = pd.DataFrame(cross.rows)
    return rows[rows.as_scanned == as_scanned]


def _counts(network: str, rows: pd.DataFrame) -> str:
    found = rows.structure.value_counts()
    if network == "localizer":
        return f"{found.sum()} joints"
    return f"{found.get('MC', 0)} joints, {found.get('NV', 0)} with a true NV"


def _spread(rows: pd.DataFrame, structures: Sequence[str], figure: str, factor: float, digits: int) -> str:
    return _values(rows[rows.structure.isin(structures)].get(figure), factor, digits)


def _values(found: pd.Series | None, factor: float, digits: int) -> str:
    values = pd.Series(dtype=float) if found is None else found.dropna().astype(float) * factor
    return "missing" if values.empty else f"{values.mean():.{digits}f} ± {values.std(ddof=0):.{digits}f}"
