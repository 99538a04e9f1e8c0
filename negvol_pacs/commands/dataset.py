"""``dataset``: outlined cases to learn from."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from negvol_pacs.commands.console import complain, out
from negvol_pacs.errors import TrainingError

if TYPE_CHECKING:
    from negvol_pacs.series.series import Series
    from negvol_pacs.training.cases.case import Case

app = typer.Typer(name="dataset", help="Outlined cases to learn from: add, list.", no_args_is_help=True)

Folder = Annotated[Path, typer.Argument(file_okay=False, help="Folder of the cases.")]


@app.command()
def add(
    folder: Folder,
    image: Annotated[Path, typer.Argument(exists=True, help="Folder of a DICOM series, or a NIfTI image.")],
    *,
    seg: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="DICOM SEG: a correction of ours, or another.")
    ] = None,
    mandible: Annotated[
        list[Path] | None, typer.Option(exists=True, dir_okay=False, help="Mesh (STL, OBJ, PLY); may be repeated.")
    ] = None,
    skull: Annotated[
        list[Path] | None, typer.Option(exists=True, dir_okay=False, help="Mesh of skull or temporal bone.")
    ] = None,
    labels: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="NIfTI label map: 1 skull, 2 mandible.")
    ] = None,
) -> None:
    """Keep an image with its outlined bones; what does not lie on the image's bones is refused with a reason."""
    from negvol_pacs.training.cases.case import Dataset

    if sum(bool(source) for source in (seg, mandible or skull, labels)) != 1:
        raise typer.BadParameter("give one of --seg, --labels, or meshes (--mandible and --skull)")
    case = _case(image, seg, mandible or [], skull or [], labels)
    name = Dataset(folder).add(case)
    kind = case.provenance["kind"]
    said = "is there already" if name is None else f"kept as {name}"
    out.print(f"{kind}: {len(case.centres)} joints, {said}", markup=False, soft_wrap=True)


@app.command("list")
def list_cases(folder: Folder) -> None:
    """List the cases, and what the turns of the correction loop found."""
    from negvol_pacs.training.cases.case import Dataset
    from negvol_pacs.training.finetune import advice, rounds

    dataset = Dataset(folder)
    table = Table("Case", "Kind", "Outlined", "Joints", "Patient", "Source")
    for name in dataset.names():
        note = dataset.note(name)
        known = note["provenance"]
        kind, patient, source = (str(known.get(key, "")) for key in ("kind", "patient", "source"))
        table.add_row(name, kind, note["scope"], ", ".join(note["centres"]), patient, source)
    out.print(table)
    if turns := rounds(folder):
        for number, turn in enumerate(turns, start=1):
            out.print(
                f"round {number}: {len(turn.new)} new of {len(turn.cases)} cases, |E| {turn.before.collisions:.0f}"
            )
        out.print(advice(turns), markup=False, soft_wrap=True)


def _case(image: Path, seg: Path | None, mandible: list[Path], skull: list[Path], labels: Path | None) -> "Case":
    from negvol_pacs.series.frames import text
    from negvol_pacs.series.reader import read_volume
    from negvol_pacs.training.cases import outlines
    from negvol_pacs.training.cases.case import patient_key
    from negvol_pacs.training.cases.correction import correction_case, outlines_joints, read_seg, refers
    from negvol_pacs.training.ct_series import volume_from_nifti

    outline = next(path for path in (seg, labels, *mandible, *skull) if path is not None)
    origin = {"source": f"{image.name} {outline.name}", "outline": outline.name, "patient": patient_key(image.name)}
    if image.is_dir():
        header = None if seg is None else read_seg(seg)
        series = _series(image)
        first = series.first
        if seg is not None and header is not None and outlines_joints(header) and refers(header, series):
            return correction_case(seg, header, series)
        patient = patient_key(text(first, "PatientID"), text(first, "IssuerOfPatientID"))
        origin |= {"source": series.series_instance_uid, "patient": patient}
        volume = read_volume(series)
    else:
        volume = volume_from_nifti(image)
    if seg is not None:
        return outlines.from_seg(seg, volume, origin | {"kind": "DICOM SEG"})
    if labels is not None:
        return outlines.from_label_map(labels, volume, origin | {"kind": "label map"})
    return outlines.from_meshes(mandible, skull, volume, origin | {"kind": "meshes"})


def _series(folder: Path) -> "Series":
    """Return the series that is measured, of those in a folder."""
    from negvol_pacs.config import SeriesRules
    from negvol_pacs.series.selection import read_headers, select_series

    skipped: list[str] = []
    series = read_headers(
        sorted(path for path in folder.rglob("*") if path.is_file()), lambda path, why: skipped.append(f"{path}: {why}")
    )
    if not series:
        complain("; ".join(skipped[:3]))
        raise TrainingError(f"{folder} holds no DICOM images.")
    return select_series(series, SeriesRules(measure_coarse=True, measure_derived=True)).series
