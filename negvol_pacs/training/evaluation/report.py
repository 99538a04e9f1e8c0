"""The report of a study: tables in the layout of the paper, and curves."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd

from negvol_pacs.cohort.figures import bare, new_figure, save
from negvol_pacs.markdown import table
from negvol_pacs.segmentation.networks import title
from negvol_pacs.training.evaluation.cross_head import CrossHead
from negvol_pacs.training.evaluation.cross_head_report import cross_head_section
from negvol_pacs.training.evaluation.patients import plan_of
from negvol_pacs.training.evaluation.run import Row
from negvol_pacs.training.evaluation.study import Study, units
from negvol_pacs.training.pool import patients

NOTE = "Synthetic heads: figures of methods against each other, not of patients"
_PAPER = {
    "unet ce": ("91.4 / 14.7", "75.5 / 29.8", "78.0 / 15.8"),
    "attention-unet ce": ("89.8 / 15.2", "75.8 / 29.9", "77.8 / 15.5"),
    "vnet ce": ("90.9 / 11.9", "75.9 / 27.9", "78.1 / 19.1"),
    "vnet dice": ("90.9 / 11.5", "76.7 / 28.3", "78.2 / 18.3"),
    "vnet dice+ce": ("91.4 / 10.5", "76.3 / 27.6", "77.7 / 18.7"),
}
"""Belikova et al. 2021, Table 2: Dice % / HD of MC, TB and NV (direct), real CT."""


def write_report(
    study: Study,
    rows: Sequence[Row],
    path: Path,
    crossed: Sequence[CrossHead] = (),
    wholes: Mapping[str, Sequence[Row]] | None = None,
) -> list[Path]:
    """Write the report with its pictures and numbers beside it.

    Parameters
    ----------
    study
        What was compared.
    rows
        What `evaluate` found.
    path
        Markdown file; pictures and numbers bear its stem.
    crossed
        Trainings without a real head, and their tests on it.
    wholes
        Figures of whole scans of each such head through the pipeline (`negvol_pacs.validation.whole_heads`).

    Returns
    -------
    list[Path]
        The files.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    frame = pd.DataFrame([row for row in rows if row["structure"] != "loss"])
    most = frame[frame.target == "bones"]["size"].max()
    whole = frame[(frame["size"] == most) | (frame.target != "bones")]
    several = frame[frame.target == "bones"]["size"].nunique() > 1
    names = ("convergence", "size") if several else ("convergence",)
    curves = {name: path.with_name(f"{path.stem}-{name}.png") for name in names}
    numbers = path.with_suffix(".json")
    _draw_convergence(rows, int(most), curves["convergence"])
    sizes = ["Not done yet."]
    if several:
        sizes = [
            *_draw_sizes(frame, study, curves["size"]),
            "",
            f"![Dice by number of patients]({curves['size'].name})",
        ]
    lines = [
        "# Evaluation of networks and losses",
        "",
        "Made by `negvol evaluate`. **All heads are synthetic**: label maps of bones, deformed and painted as CT. The",
        "numbers compare methods; they say nothing of patients. In brackets: the paper's, on real CT, for comparison.",
        "",
        f"{_patients(study, frame)}, "
        f"{study.examples} joints a patient, {study.steps} steps of one {study.window}³ window at "
        f"{study.spacing_mm:g} mm, levels {'-'.join(map(str, study.channels))}, seed {study.seed}; "
        f"{_core_minutes(rows):.1f} core minutes for all trainings and tests. Mean ± standard deviation over "
        f"patients.{_size_note(study)}{_missing_note(study, rows)}",
        "",
        "## Networks and losses (Table 2 of the paper)",
        "",
        *_table2(whole, study),
        "",
        "NV: by inflation of the outlined bones; *snapped*: of their surfaces moved to the edges of the grey values,",
        "as in the pipeline; *direct*: a network that outlines NV itself. All against the inflation of the true bones,",
        "where there is one (many joints are painted with the mouth open):",
        f"{_with_volume(whole)}. *Found*: share of these in which the outlined bones have one.",
        "",
        *_apart(whole, study),
        "## Localisation",
        "",
        *_localisation(whole),
        "",
        "## Training size (Fig. 10)",
        "",
        *sizes,
        "",
        "## Convergence (Fig. 11)",
        "",
        f"![Loss by step]({curves['convergence'].name})",
    ]
    section, shown = cross_head_section(crossed, path, wholes or {}) if crossed else ([], [])
    lines += ["", *section] if section else []
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    content = {"study": asdict(study), "rows": [_plain(row) for row in rows]}
    content["cross_head"] = [{"recipe": cross.recipe.key(), "rows": cross.rows} for cross in crossed]
    content["whole_heads"] = dict(wholes or {})
    numbers.write_text(json.dumps(content, default=str) + "\n", encoding="utf-8")
    return [path, numbers, *curves.values(), *shown]


def _table2(frame: pd.DataFrame, study: Study) -> list[str]:
    there = set(frame[frame.target == "bones"].column)
    shown = [pair for pair in study.columns if " ".join(pair) in there]
    columns = [" ".join(pair) for pair in shown]
    bones, direct = frame[frame.target == "bones"], frame[frame.target == "nv"]
    # The direct network has no gap to weight: where a loss weights it, the plain one stands there.
    plain = {column: f"{column.split()[0]} dice+ce" if " gap" in column else column for column in columns}
    wanted = (
        ("MC Dice, %", "MC", "dice", 100, 1), ("MC CE", "MC", "ce", 1, 3), ("MC HD, mm", "MC", "hd", 1, 1),
        ("MC HD95, mm", "MC", "hd95", 1, 1), ("TB Dice, %", "TB", "dice", 100, 1), ("TB CE", "TB", "ce", 1, 3),
        ("TB HD, mm", "TB", "hd", 1, 1), ("TB HD95, mm", "TB", "hd95", 1, 1), ("GapDice, %", "gap", "gap_dice", 100, 1),
        ("Collisions, voxels", "gap", "collisions", 1, 0), ("NV Dice, %", "NV", "dice", 100, 1),
        ("NV Dice, surfaces snapped, %", "NV", "snapped_dice", 100, 1),
        ("NV HD, mm", "NV", "hd", 1, 1), ("NV found, %", "NV", "found", 100, 0),
    )  # fmt: skip
    lines = []
    for said, structure, figure, factor, digits in wanted:
        cells = [_cell(bones, column, structure, figure, factor=factor, digits=digits) for column in columns]
        if figure == "dice":
            index = ("MC", "TB").index(structure) if structure != "NV" else None
            cells = [
                f"{cell} ({_PAPER[column][index].split()[0]})" if index is not None and column in _PAPER else cell
                for cell, column in zip(cells, columns, strict=True)
            ]
        lines.append([said, *cells])
    for said, figure, factor, digits in (
        ("NV direct Dice, %", "dice", 100, 1), ("NV direct CE", "ce", 1, 3),
        ("NV direct HD, mm", "hd", 1, 1), ("NV direct HD95, mm", "hd95", 1, 1),
    ):  # fmt: skip
        cells = [_cell(direct, plain[column], "NV", figure, factor=factor, digits=digits) for column in columns]
        if figure == "dice":
            pairs = zip(cells, columns, strict=True)
            cells = [f"{cell} ({_PAPER[c][2].split()[0]})" if c in _PAPER else cell for cell, c in pairs]
        lines.append([said, *cells])
    return table(["", *(f"{title(a)}, {loss}" for a, loss in shown)], lines)


def _cell(
    frame: pd.DataFrame, column: str, structure: str, figure: str, *, factor: float = 1.0, digits: int = 1
) -> str:
    """Mean ± sd over patients; missing where there is no number."""
    if figure not in frame.columns:
        return "missing"
    own = frame[(frame.column == column) & (frame.structure == structure)]
    means = own.assign(value=pd.to_numeric(own[figure])).groupby("patient").value.mean().dropna() * factor
    if means.empty:
        return "missing"
    return f"{means.mean():.{digits}f} ± {means.std(ddof=0):.{digits}f}"


def _localisation(frame: pd.DataFrame) -> list[str]:
    own = frame[frame.target == "localizer"].assign(structure="joint")
    if own.empty:
        return ["Not done yet."]
    column = str(own.column.iloc[0])
    figures = (
        ("Dice, % (64.6 ± 0.3)", "dice", 100, 1), ("Dice, %, sides mended", "mended_dice", 100, 1),
        ("CE (0.040)", "ce", 1, 3),
        ("Box, mean error of its faces, mm", "box_mm", 1, 1),
        ("Box, mean squared error, voxels² (7.94 ± 2.01)", "box_mse", 1, 1),
        ("Box, error of its centre, mm", "centre_mm", 1, 1),
    )  # fmt: skip
    lines = [[said, _cell(own, column, "joint", name, factor=f, digits=d)] for said, name, f, d in figures]
    return table(["", title(column.split(maxsplit=1)[0])], lines)


def _apart(frame: pd.DataFrame, study: Study) -> list[str]:
    """One network for both bones, or one for each: the last column, by the same steps for each network."""
    if not (frame.target == "apart").any():
        return []
    architecture, loss = study.columns[-1]
    ways = [frame[frame.target == target] for target in ("bones", "apart")]
    lines = [
        [said, *(_cell(way, f"{architecture} {loss}", structure, figure, factor=f, digits=d) for way in ways)]
        for said, structure, figure, f, d in (
            ("MC Dice, %", "MC", "dice", 100, 1), ("MC HD95, mm", "MC", "hd95", 1, 1),
            ("TB Dice, %", "TB", "dice", 100, 1), ("TB HD95, mm", "TB", "hd95", 1, 1),
            ("GapDice, %", "gap", "gap_dice", 100, 1), ("Collisions, voxels", "gap", "collisions", 1, 0),
            ("NV Dice, %", "NV", "dice", 100, 1), ("NV Dice, surfaces snapped, %", "NV", "snapped_dice", 100, 1),
            ("NV found, %", "NV", "found", 100, 0),
        )
    ]  # fmt: skip
    head = ["", "both bones in one", "a network for each (twice the steps in all)"]
    return [f"## One network or two ({title(architecture)}, {loss})", "", *table(head, lines), ""]


def _patients(study: Study, frame: pd.DataFrame) -> str:
    done = study.tested or study.folds
    tested, trained = frame[frame.target == "bones"].patient.nunique(), frame[frame.target == "bones"]["size"].max()
    folds = f"{study.folds} folds by patient"
    return f"{tested} patients tested, {trained} to train on, {folds}" + (
        f", of which {done} done" * (done < study.folds)
    )


def _with_volume(frame: pd.DataFrame) -> str:
    """Say how many of a column's joints have a true negative volume."""
    own = frame[(frame.target == "bones") & (frame.column == frame[frame.target == "bones"].column.iloc[0])]
    return f"{(own.structure == 'NV').sum()} of {(own.structure == 'MC').sum()} tested joints have one"


def _core_minutes(rows: Sequence[Row]) -> float:
    return sum(float(row["core_s"]) for row in rows if row["structure"] == "loss") / 60


def _size_note(study: Study) -> str:
    full = Study()
    if (
        study.steps >= full.steps
        and (study.tested or study.folds) >= full.folds
        and study.spacing_mm <= full.spacing_mm
    ):
        return ""
    return (
        f" **A reduced study**: the full one takes {full.folds} folds, {full.steps} steps, {full.window}³ at "
        f"{full.spacing_mm:g} mm. Networks trained so little rank methods roughly at best; "
        "a Dice of 0 is a network that had learned nothing yet."
    )


def _missing_note(study: Study, rows: Sequence[Row]) -> str:
    done = sum(row["structure"] == "loss" for row in rows)
    wanted = len(list(units(study, patients(plan_of(study)))))
    return f" {done} of its {wanted} trainings are finished; the others are missing here." if done < wanted else ""


def _draw_sizes(frame: pd.DataFrame, study: Study, path: Path) -> list[str]:
    """Dice of MC and TB on the first fold's patients, by the number of patients trained on."""
    architecture, loss = study.columns[-1]
    own = frame[(frame.target == "bones") & (frame.column == f"{architecture} {loss}") & (frame.fold == 0)]
    figure = new_figure(7, 4)
    axes = figure.subplots()
    lines = []
    for structure in ("MC", "TB"):
        points = own[own.structure == structure].groupby("size").dice.mean() * 100
        axes.plot(points.index, points.to_numpy(), "o-", label=structure)
        lines.append([f"{structure} Dice, %", *(f"{value:.1f}" for value in points)])
    axes.set(xlabel="patients trained on", ylabel="Dice, %")
    axes.legend()
    bare(axes)
    save(figure, path, NOTE)
    sizes = sorted(own["size"].unique())
    return table([f"{title(architecture)}, {loss}; patients", *map(str, sizes)], lines)


def _draw_convergence(rows: Sequence[Row], most: int, path: Path) -> None:
    figure = new_figure(8, 4.5)
    axes = figure.subplots()
    curves: dict[str, list[list[float]]] = {}
    for row in rows:
        if row["structure"] == "loss" and row["target"] == "bones" and row["size"] == most and row["curve"]:
            curves.setdefault(str(row["column"]), []).append(row["curve"])
    for column, found in curves.items():
        shortest = min(map(len, found))
        mean = np.mean([curve[:shortest] for curve in found], axis=0)
        # Losses differ in size: what matters is how soon each falls.
        axes.plot(np.linspace(0, 100, len(mean)), mean / mean[0], label=column)
    axes.set(xlabel="steps, % of the training", ylabel="loss, share of its first value")
    axes.legend(fontsize="small")
    bare(axes)
    save(figure, path, NOTE)


def _plain(row: Mapping[str, object]) -> dict[str, object]:
    return {key: value for key, value in row.items() if value is not None}
