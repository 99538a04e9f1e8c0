"""``cohort``: reports of many patients as a table and pictures."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer

from negvol_pacs import config
from negvol_pacs.commands.console import DEFAULT_CONFIG, ConfigFile, complain, out
from negvol_pacs.errors import ConfigError


def cohort(
    source: Annotated[str, typer.Argument(help="Folder, searched below, or a destination of the configuration.")],
    output: Annotated[Path, typer.Option("--out", "-o", file_okay=False)] = Path("negvol-cohort"),
    flagged: Annotated[bool, typer.Option("--flagged", help="Doubtful numbers take part in the pictures.")] = False,
    config_file: ConfigFile = DEFAULT_CONFIG,
) -> None:
    """Put the reports of a folder or of a PACS into a table (CSV, parquet) and draw what they show."""
    from negvol_pacs.cohort.write import write_cohort
    from negvol_pacs.report.collection import read_folder

    if Path(source).is_dir():
        found = read_folder(Path(source))
    else:
        with TemporaryDirectory(prefix="negvol-") as folder:
            _fetch(source, config_file, Path(folder))
            found = read_folder(Path(folder))
    for path, reason in found.unreadable.items():
        complain(f"{path.name}: {reason}")
    written = write_cohort(found, output, flagged=flagged)
    for note in written.notes:
        out.print(note, markup=False, soft_wrap=True)
    for path in written.files:
        out.print(str(path), markup=False, soft_wrap=True)


def _fetch(name: str, config_file: Path, folder: Path) -> None:
    from negvol_pacs.network.retriever import Wanted, fetch_reports
    from negvol_pacs.report.sr import SERIES_NUMBER

    settings = config.load(config_file) if config_file.exists() else config.Config()
    known = {item.name: item for item in settings.destinations}
    if name not in known:
        names = ", ".join(known) or "none"
        raise ConfigError(f"{name} is no folder and no destination in {config_file}; there are: {names}")
    fetch_reports(known[name], Wanted(SERIES_NUMBER), folder, settings)
