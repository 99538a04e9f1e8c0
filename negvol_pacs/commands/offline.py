"""``process``, ``phantom``, ``train`` and ``demo``: what needs no running node."""

from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from negvol_pacs import config
from negvol_pacs.commands.console import DEFAULT_CONFIG, ConfigFile, out

Folder = Annotated[Path, typer.Argument(exists=True, file_okay=False, help="Folder of DICOM files, searched below.")]


def progress_bar() -> Progress:
    """Bar with what is being done and how long it has taken."""
    return Progress(
        SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), console=out, transient=True
    )


def process(
    folder: Folder,
    output: Annotated[Path, typer.Option("--out", "-o", file_okay=False)] = Path("negvol-results"),
    config_file: ConfigFile = DEFAULT_CONFIG,
) -> None:
    """Measure a series without any network: SEG, SR, picture and numbers into a folder."""
    from negvol_pacs.report.table import findings_table
    from negvol_pacs.segmentation.weights import load_networks, resolve_device
    from negvol_pacs.series.selection import read_headers, select_series
    from negvol_pacs.workflow.pipeline import process_series

    settings = config.load(config_file) if config_file.exists() else config.Config()
    selection = select_series(read_headers(sorted(p for p in folder.rglob("*") if p.is_file())), settings.series)
    out.print(f"series {selection.series.series_instance_uid}, {len(selection.series.paths)} images")
    networks = load_networks(settings.pipeline.models, str(resolve_device(settings.pipeline)))
    with progress_bar() as bar:
        task = bar.add_task("starting", total=1.0)
        result = process_series(
            selection,
            networks,
            settings,
            output,
            datetime.now().astimezone(),
            progress=lambda what, part: bar.update(task, description=what, completed=part),
        )
    out.print(findings_table(result.findings))
    for path in (result.seg, result.sr, result.picture, result.numbers):
        if path is not None:
            out.print(str(path), markup=False, soft_wrap=True)


def demo(
    dicom: Annotated[
        Path | None, typer.Option(exists=True, file_okay=False, help="Your own head CT series instead of a phantom.")
    ] = None,
    output: Annotated[Path, typer.Option("--out", "-o", file_okay=False)] = Path("negvol-demo"),
) -> None:
    """Run the whole way on this machine: a head CT goes in by C-STORE, SEG and SR come back to a PACS."""
    from negvol_pacs.workflow.demo import run

    raise typer.Exit(run(dicom, output, out))
