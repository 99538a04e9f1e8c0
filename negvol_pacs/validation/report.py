"""The report: Markdown and JSON."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from negvol_pacs.markdown import table
from negvol_pacs.validation.check import Check

_HEADER = ("subject", "measure", "setting", "value", "reference", "error", "limit", "")


def write(checks: Sequence[Check], folder: Path, more: Mapping[str, Sequence[str]] | None = None) -> Path:
    """Write ``validation.json`` and ``validation.md``; return the latter.

    Parameters
    ----------
    checks
        In the order of their sections.
    folder
        Where the files go.
    more
        Section to the lines of Markdown that follow its table.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rows = [{**asdict(check), "passed": check.passed} for check in checks]
    (folder / "validation.json").write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    lines = [
        "# Validation",
        "",
        "Made by `negvol validate`: true masks, no networks, but where a painted CT goes through the pipeline.",
        "References: closed forms, outlines in two planes and quadrature of the implicit functions, without meshes.",
        f"Grids coarser than 0.4 mm have no limit: they show how errors grow. **{verdict(checks)}.**",
    ]
    for section in dict.fromkeys(check.section for check in checks):
        own = [check for check in checks if check.section == section]
        lines += ["", f"## {section}", "", *table(_HEADER, [_cells(check) for check in own])]
        lines += (more or {}).get(section, ())
    path = folder / "validation.md"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def verdict(checks: Sequence[Check]) -> str:
    """Say how many of the checks that have a limit hold."""
    limited = [check for check in checks if check.limit is not None]
    return f"{sum(check.passed for check in limited)} of {len(limited)} checks hold"


def _cells(check: Check) -> list[str]:
    digits = 3 if not check.unit else 2
    values = (
        "" if v is None else f"{v:.{digits}f}"
        for v in (check.value if check.reference is not None else None, check.reference)
    )
    error = "missing" if check.error is None else f"{check.error:.{digits}f} {check.unit}".strip()
    mark = "**does not hold**" if not check.passed else "" if check.limit is None else "holds"
    limit = "" if check.limit is None else f"{check.limit:.4g} {check.unit}".strip()
    return [check.subject, check.quantity, check.setting, *values, error, limit, mark]
