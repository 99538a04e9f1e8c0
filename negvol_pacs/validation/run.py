"""All checks in one report."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

from negvol_pacs.config import Pipeline
from negvol_pacs.joint.measure import measure
from negvol_pacs.segmentation.weights import load_networks
from negvol_pacs.validation import accuracy, agreement, asymmetry, plots, report, reposing, severity, solidity, subvoxel
from negvol_pacs.validation.check import Check
from negvol_pacs.validation.poses import POSES, Pose
from negvol_pacs.validation.reposed_heads import LabelledHead, Masks, PaintedHead, analytic_head, phantom

Progress = Callable[[str], None]


def everything(
    folder: Path,
    *,
    quick: bool = False,
    labels: Path | None = None,
    pipeline: bool = False,
    count: int = POSES,
    joints: int = solidity.RANDOM,
    progress: Progress = lambda what: None,
) -> tuple[list[Check], Path]:
    """Run the checks and write the report.

    Parameters
    ----------
    folder
        Where it goes.
    quick
        Only accuracy on one coarse grid, mirrored joints and growth in voxels.
    labels
        NIfTI label map of a head, re-posed beside the analytic one.
    pipeline
        Also a synthetic head: its true masks, and painted as CT in each pose and under artefacts, through
        the whole pipeline.
    count
        Poses of each head.
    joints
        Random joints whose negative volume is checked.
    progress
        Told what is being done.

    Returns
    -------
    tuple
        All checks, and the path of the Markdown report.
    """
    checks = accuracy.run(accuracy.QUICK_MM if quick else accuracy.SPACINGS_MM, progress)
    for name, joint in accuracy.joints().items():
        progress(f"{name}: mirrored, voxels")
        checks += agreement.mirrored(name, joint) + agreement.voxels(name, joint)
    more: dict[str, list[str]] = {}
    if not quick:
        plots.convergence(checks, folder / "convergence.png")
        more[accuracy.SECTION] = ["", "![Errors against the spacing](convergence.png)"]
        report.write(checks, folder, more)  # the rest takes minutes
        found, tables = asymmetry.run(progress=progress)
        checks += found
        more[asymmetry.SECTION] = asymmetry.markdown(tables)
        checks += solidity.run(count=joints, progress=progress)
        found, rows = subvoxel.run(progress=progress)
        checks += found
        more[subvoxel.SECTION] = subvoxel.markdown(rows)
        report.write(checks, folder, more)
        numbers = []
        more[reposing.SECTION] = reposing.introduction(count)
        for number, study in enumerate(studies(count, labels, pipeline=pipeline, progress=progress), 1):
            checks += reposing.checks(study)
            numbers += reposing.numbers(study)
            picture = f"reposing-{number}.png"
            plots.reposing(study, folder / picture)
            more[reposing.SECTION] += [*reposing.markdown(study), "", f"![{study.name}, re-posed]({picture})"]
            (folder / "reposing.json").write_text(json.dumps(numbers, indent=1) + "\n", encoding="utf-8")
            report.write(checks, folder, more)
        if pipeline:
            found, curves = severity.run(progress=progress)
            checks += found
            more[severity.SECTION] = severity.markdown(curves)
            for number, curve in enumerate(curves, 1):
                plots.severity(curve, folder / f"artefact-{number}.png")
                more[severity.SECTION] += ["", f"![{curve.artefact.name}](artefact-{number}.png)"]
    return checks, report.write(checks, folder, more)


def studies(
    count: int = POSES, labels: Path | None = None, *, pipeline: bool = False, progress: Progress = lambda what: None
) -> Iterator[reposing.Study]:
    """Measure each head in each pose; see `everything`."""

    def true_masks(name: str, head: Callable[[Pose], Masks]) -> reposing.Study:
        return reposing.run(f"{name}, true masks", lambda pose: measure(head(pose)), count, progress=progress)

    yield true_masks("Analytic head", analytic_head)
    if labels:
        yield true_masks("Label map", LabelledHead.of_patient(labels).masks)
    if pipeline:
        progress("Synthetic head")
        made = phantom()
        yield true_masks("Synthetic head", LabelledHead.of_phantom(made).masks)
        progress("Synthetic head, painted")
        find = reposing.through_pipeline(PaintedHead(made.labels), load_networks(), Pipeline())
        yield reposing.run("Synthetic head, painted CT", find, count, reposing.PAINTED_LIMITS, progress)
