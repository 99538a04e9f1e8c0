"""All checks in one report."""

from collections.abc import Callable
from pathlib import Path

from negvol_pacs.validation import accuracy, agreement, asymmetry, plots, report, reposing, severity, solidity, subvoxel
from negvol_pacs.validation.check import Check


def everything(
    folder: Path,
    *,
    quick: bool = False,
    labels: Path | None = None,
    count: int = reposing.POSES,
    joints: int = solidity.RANDOM,
    artefacts: bool = True,
    progress: Callable[[str], None] = lambda what: None,
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
    count
        Poses of each head.
    joints
        Random joints whose negative volume is checked.
    artefacts
        Whether a painted head goes through the whole pipeline under rising artefacts.
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
    more: list[str] = []
    if not quick:
        plots.convergence(checks, folder / "convergence.png")
        more += ["", "![Errors against the spacing](convergence.png)"]
        report.write(checks, folder, more)  # the rest takes minutes
        found, tables = asymmetry.run(progress=progress)
        checks += found
        more += asymmetry.markdown(tables)
        checks += solidity.run(count=joints, progress=progress)
        found, rows = subvoxel.run(progress=progress)
        checks += found
        more += subvoxel.markdown(rows)
        report.write(checks, folder, more)
        heads: dict[str, Callable[[reposing.Pose], reposing.Masks]] = {"analytic head": reposing.analytic_head}
        if labels:
            heads["label map"] = reposing.LabelledHead(labels)
        for number, (name, masks) in enumerate(heads.items(), 1):
            found, values = reposing.run(name, masks, count, progress)
            checks += found
            picture = f"reposing-{number}.png"
            plots.scatter(values, reposing.grids(count), f"{name}: {count} poses", folder / picture)
            more += ["", f"![{name}, re-posed]({picture})"]
        if artefacts:
            report.write(checks, folder, more)
            found, curves = severity.run(progress=progress)
            checks += found
            more += severity.markdown(curves)
            for number, curve in enumerate(curves, 1):
                plots.severity(curve, folder / f"artefact-{number}.png")
                more += ["", f"![{curve.artefact.name}](artefact-{number}.png)"]
    return checks, report.write(checks, folder, more)
