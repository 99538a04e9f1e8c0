"""``validate``: the measurements against joints whose numbers are known."""

from pathlib import Path
from typing import Annotated

import typer

from negvol_pacs.commands.console import out


def validate(
    *,
    quick: Annotated[bool, typer.Option("--quick", help="One coarse spacing; no series of changes or poses.")] = False,
    labels: Annotated[
        Path | None,
        typer.Option("--labels", exists=True, dir_okay=False, help="NIfTI label map of a head, re-posed as well."),
    ] = None,
    pipeline: Annotated[
        bool,
        typer.Option("--pipeline", help="Painted CT as well, in each pose and under artefacts, through the networks."),
    ] = False,
    poses: Annotated[int, typer.Option(min=2, help="Of each re-posed head.")] = 30,
    joints: Annotated[int, typer.Option(min=1, help="Random joints whose negative volume is checked.")] = 60,
    painted: Annotated[
        int, typer.Option("--confidence", min=0, help="Painted joints whose predicted Dice is held against the true.")
    ] = 0,
    resume: Annotated[
        bool, typer.Option("--resume", help="Take the parts that an earlier run left in REPORT.")
    ] = False,
    output: Annotated[Path, typer.Option("--out", "-o", file_okay=False)] = Path("negvol-validation"),
) -> None:
    """Measure joints whose numbers are known and write a report (Markdown, JSON and pictures)."""
    from negvol_pacs.validation import report, run

    extent = run.Extent(quick, labels, pipeline, poses, joints, painted)
    checks, path = run.everything(output, extent, resume=resume, progress=out.print)
    out.print(f"{report.verdict(checks)}: {path}", soft_wrap=True)
