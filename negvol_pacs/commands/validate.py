"""``validate``: the measurements against joints whose numbers are known."""

from pathlib import Path
from typing import Annotated

import typer

from negvol_pacs.commands.console import out


def validate(
    *,
    quick: Annotated[bool, typer.Option("--quick", help="One coarse spacing.")] = False,
    output: Annotated[Path, typer.Option("--out", "-o", file_okay=False)] = Path("negvol-validation"),
) -> None:
    """Measure analytic joints and write a report of the errors (Markdown and JSON)."""
    from negvol_pacs.validation import accuracy, agreement, report

    checks = accuracy.run(accuracy.QUICK_MM if quick else accuracy.SPACINGS_MM, out.print)
    for name, joint in accuracy.joints().items():
        out.print(f"{name}: mirrored, voxels")
        checks += agreement.mirrored(name, joint) + agreement.voxels(name, joint)
    path = report.write(checks, output)
    out.print(f"{sum(check.passed for check in checks)} of {len(checks)} checks hold: {path}", soft_wrap=True)
