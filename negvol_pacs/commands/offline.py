"""``process``, ``phantom`` and ``demo``: what needs no running node."""

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
    prior: Annotated[
        Path | None, typer.Option(exists=True, file_okay=False, help="Folder of earlier reports: say what changed.")
    ] = None,
) -> None:
    """Measure a series without any network: SEG, SR, picture, numbers and widths into a folder."""
    from negvol_pacs.report.change import find_prior
    from negvol_pacs.report.collection import read_folder
    from negvol_pacs.report.table import findings_table
    from negvol_pacs.segmentation.weights import load_networks, resolve_device
    from negvol_pacs.series.selection import read_headers, select_series
    from negvol_pacs.workflow.pipeline import process_series

    settings = config.load(config_file) if config_file.exists() else config.Config()
    selection = select_series(read_headers(sorted(p for p in folder.rglob("*") if p.is_file())), settings.series)
    earlier = None if prior is None else find_prior(selection.series, read_folder(prior).reports)
    if prior is not None and earlier is None:
        out.print(f"no report in {prior} is surely of an older study of this patient", style="yellow", markup=False)
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
            prior=earlier,
        )
    out.print(findings_table(result.findings, result.changes))
    for path in (result.seg, result.sr, result.picture, result.numbers, result.widths):
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


def phantom(
    folder: Annotated[Path, typer.Argument(file_okay=False, help="Where the files go.")],
    *,
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same head.")] = 0,
    from_volume: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="Convert this NIfTI image instead.")
    ] = None,
    from_labels: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="Clothe and paint this NIfTI map of bones instead.")
    ] = None,
    spacing: Annotated[float | None, typer.Option(min=0.1, help="Pixel spacing in mm.")] = None,
    slices: Annotated[float | None, typer.Option(min=0.1, help="Distance of slices in mm.")] = None,
    rotate: Annotated[tuple[float, float, float], typer.Option(help="Turn the grid about x, y and z, in degrees.")] = (
        0.0,
        0.0,
        0.0,
    ),
    flip: Annotated[list[int] | None, typer.Option(min=0, max=2, help="Array axis to flip; may be repeated.")] = None,
    extent: Annotated[
        tuple[float, float, float] | None, typer.Option(help="Crop to this size in mm, along the array axes.")
    ] = None,
    enhanced: Annotated[bool, typer.Option(help="One multi-frame object instead of single slices.")] = False,
    transfer_syntax: Annotated[
        str, typer.Option(help="By its keyword, such as JPEGLSLossless.")
    ] = "ExplicitVRLittleEndian",
) -> None:
    """Write a head CT series for tests and trials: synthetic, painted from a map of bones, or converted."""
    from pydicom import uid

    from negvol_pacs.training.phantom import write_phantom

    syntax = getattr(uid, transfer_syntax, None)
    if not isinstance(syntax, uid.UID) or not syntax.is_transfer_syntax:
        raise typer.BadParameter(f"{transfer_syntax} is not a transfer syntax", param_hint="--transfer-syntax")
    try:
        paths = write_phantom(
            folder,
            seed,
            from_volume=from_volume,
            from_labels=from_labels,
            spacing_mm=spacing,
            slice_mm=slices,
            degrees=rotate,
            flip=flip or (),
            extent_mm=extent,
            enhanced=enhanced,
            transfer_syntax=syntax,
        )
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    out.print(f"{len(paths)} files in {folder}", markup=False, soft_wrap=True)
