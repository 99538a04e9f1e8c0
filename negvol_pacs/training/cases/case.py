"""A training case: an image, its outlined bones, and where both come from."""

import hashlib
import json
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import highdicom as hd
import nibabel as nib
import numpy as np
from nibabel.filebasedimages import ImageFileError
from numpy.typing import NDArray

from negvol_pacs.anatomy import Side
from negvol_pacs.errors import TrainingError
from negvol_pacs.segmentation.grid import on_grid

MANDIBLE, SKULL = 1, 2
"""Labels: the mandible or its condyle, the skull or its temporal bone."""
Scope = Literal["joint", "whole"]
_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


@dataclass(frozen=True)
class Case:
    """One head with its bones.

    Attributes
    ----------
    image
        Grey values of the scan, its own grid.
    labels
        uint8 on the same grid: 0, `MANDIBLE`, `SKULL`.
    centres
        Of the outlined condylar heads, LPS mm.
    scope
        ``joint``: outlined around the condylar heads alone, as in the SEG of this product; ``whole``:
        what has no label is no bone of interest, wherever it lies.
    provenance
        Where image and labels come from; strings and numbers, no name of a patient. ``source`` names
        what was outlined, so that a later outline of it takes the place of an earlier one; ``patient``
        keeps the heads of one patient in one fold.
    """

    image: hd.Volume
    labels: hd.Volume
    centres: Mapping[Side, NDArray[np.float64]]
    scope: Scope
    provenance: Mapping[str, Any]


class Dataset:
    """Cases in a folder, one folder a case: image.nii.gz, labels.nii.gz, case.json.

    Parameters
    ----------
    folder
        Made when the first case is added.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def add(self, case: Case) -> str | None:
        """Keep a case; one that is there already changes nothing.

        Returns
        -------
        str or None
            Its name; None where it was there already.

        Raises
        ------
        TrainingError
            If it cannot be written.
        """
        name = _name(case)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            if (self.folder / name).exists():
                return None
            new = Path(tempfile.mkdtemp(prefix=".incoming-", dir=self.folder))
            try:
                _write(case, new, len(self._notes()))
                new.rename(self.folder / name)
            except BaseException:
                shutil.rmtree(new, ignore_errors=True)
                raise
        except OSError as error:
            raise TrainingError(f"{self.folder}: {error.strerror or error}.") from error
        return name

    def names(self) -> list[str]:
        """Names of the cases, oldest first; of several outlines of one source only the latest."""
        latest = {str(note["provenance"]["source"]): name for name, note in self._notes().items()}
        return [name for name in self._notes() if name in latest.values()]

    def note(self, name: str) -> dict[str, Any]:
        """Return what case.json says of a case."""
        return self._notes()[name]

    def read(self, name: str) -> Case:
        """Read one case.

        Raises
        ------
        TrainingError
            If it is damaged.
        """
        try:
            note = json.loads((self.folder / name / "case.json").read_text(encoding="utf-8"))
            image, labels = (_load(self.folder / name / part) for part in ("image.nii.gz", "labels.nii.gz"))
            centres = {Side(side): np.array(place) for side, place in note["centres"].items()}
            return Case(
                image, on_grid(labels.array.astype(np.uint8), labels), centres, note["scope"], note["provenance"]
            )
        except (OSError, ValueError, KeyError, ImageFileError) as error:
            raise TrainingError(f"Case {name} in {self.folder} cannot be read: {error}.") from error

    def _notes(self) -> dict[str, dict[str, Any]]:
        found = {}
        for path in self.folder.glob("[!.]*/case.json"):
            found[path.parent.name] = json.loads(path.read_text(encoding="utf-8"))
        return dict(sorted(found.items(), key=lambda item: (item[1]["number"], item[0])))


def patient_key(patient_id: str, issuer: str = "") -> str:
    """Name of a patient that does not say who it is."""
    return hashlib.sha256(f"{issuer}\n{patient_id}".encode()).hexdigest()[:16]


def _name(case: Case) -> str:
    digest = hashlib.sha256(np.ascontiguousarray(case.labels.array).tobytes())
    digest.update(json.dumps([case.provenance["source"], case.provenance.get("outline", "")]).encode())
    return digest.hexdigest()[:16]


def _write(case: Case, folder: Path, number: int) -> None:
    image = case.image.array
    whole = np.asarray(image, dtype=np.int16 if np.issubdtype(image.dtype, np.integer) else np.float32)
    _save(whole, case.image.affine, folder / "image.nii.gz")
    _save(case.labels.array.astype(np.uint8), case.labels.affine, folder / "labels.nii.gz")
    centres = {side.value: [float(value) for value in place] for side, place in case.centres.items()}
    note = {"number": number, "scope": case.scope, "centres": centres, "provenance": dict(case.provenance)}
    (folder / "case.json").write_text(json.dumps(note, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _save(array: NDArray[Any], affine: NDArray[np.float64], path: Path) -> None:
    nib.save(nib.Nifti1Image(array, _RAS @ affine), path)


def _load(path: Path) -> hd.Volume:
    image = nib.load(path)
    return hd.Volume(np.asarray(image.dataobj), _RAS @ image.affine, coordinate_system="PATIENT")
