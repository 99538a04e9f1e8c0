"""Reports with invented findings, made in milliseconds: no networks, no images."""

from datetime import datetime
from pathlib import Path

import numpy as np
from pydicom import Dataset
from pydicom.uid import CTImageStorage

from negvol_pacs.anatomy import Side
from negvol_pacs.joint.findings import Findings, JointMeasurements, Measurement, Quantity, Symmetry
from negvol_pacs.quality import QualityFlag
from negvol_pacs.report.algorithm import Algorithm
from negvol_pacs.report.sr import build_sr
from negvol_pacs.series.series import Series

ALGORITHM = Algorithm("negvol-pacs", "0.1.0", "ab" * 32)
BOTH_SIDES = (Quantity.S_LR, Quantity.H_LR)
TYPICAL = {
    Quantity.FW: 18.0,
    Quantity.FD: 7.2,
    Quantity.AJS: 2.2,
    Quantity.SJS: 2.8,
    Quantity.PJS: 2.4,
    Quantity.NV_VOLUME: 900.0,
    Quantity.NV_AREA: 1100.0,
    Quantity.S_LR: 1.08,
    Quantity.H_LR: 2.0,
}


def invent(seed: int = 0, spread: float = 0.08, **changed: Measurement) -> Findings:
    """Findings that vary about the typical; ``right_FW=Measurement(...)`` or ``S_LR=...`` puts a number there."""
    random = np.random.default_rng(seed)
    size = 1 + spread * random.standard_normal()

    def draw(quantity: Quantity) -> Measurement:
        value = TYPICAL[quantity] * size * (1 + spread * random.standard_normal() / 2)
        return Measurement(quantity, round(value, 3), sd=0.25 if quantity is Quantity.H_LR else None)

    sided = [q for q in TYPICAL if q not in BOTH_SIDES]
    joints = {side: {q: changed.get(f"{side}_{q.name}", draw(q)) for q in sided} for side in (Side.RIGHT, Side.LEFT)}
    both = {q: changed.get(q.name, draw(q)) for q in BOTH_SIDES}
    return Findings({side: JointMeasurements(side, numbers) for side, numbers in joints.items()}, Symmetry(both))


def missing(quantity: Quantity, flag: QualityFlag = QualityFlag.FOSSA_NOT_FOUND) -> Measurement:
    return Measurement(quantity, None, flags=frozenset({flag}))


def doubtful(quantity: Quantity, value: float, flag: QualityFlag = QualityFlag.BONE_CONTACT) -> Measurement:
    return Measurement(quantity, value, flags=frozenset({flag}))


def head(
    study: str = "1.2.3",
    *,
    patient: str = "P-1",
    birth: str = "19800101",
    issuer: str = "",
    date: str = "20260102",
    time: str = "030405",
    accession: str = "A-1",
    series: str = "1",
    slices: int = 3,
) -> Series:
    """Headers of a few CT slices."""
    headers = []
    for number in range(slices):
        ds = Dataset()
        ds.SOPClassUID, ds.SOPInstanceUID = CTImageStorage, f"{study}.{series}.{number + 1}"
        ds.StudyInstanceUID, ds.SeriesInstanceUID = study, f"{study}.{series}"
        ds.StudyDate, ds.StudyTime, ds.AccessionNumber, ds.StudyID = date, time, accession, "S"
        ds.PatientID, ds.PatientBirthDate, ds.PatientName, ds.PatientSex = patient, birth, "Doe^Jane", "F"
        if issuer:
            ds.IssuerOfPatientID = issuer
        ds.Modality, ds.Manufacturer, ds.SeriesNumber, ds.InstanceNumber = "CT", "Maker", 3, number + 1
        ds.FrameOfReferenceUID, ds.PositionReferenceIndicator = f"{study}.9", ""
        headers.append(ds)
    return Series(tuple(Path(f"{n}.dcm") for n in range(slices)), tuple(headers))


def report(
    series: Series,
    findings: Findings,
    *,
    algorithm: Algorithm = ALGORITHM,
    made: datetime = datetime(2026, 3, 4, 5, 6, 7),
    former: tuple[Dataset, ...] = (),
) -> Dataset:
    """Return a report of a series."""
    return build_sr(series, findings, None, algorithm, made, former)


def save(ds: Dataset, folder: Path) -> Path:
    """Write a report into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{ds.SOPInstanceUID}.dcm"
    ds.save_as(path)
    return path


def write_cohort(folder: Path, patients: int = 24, repeats: int = 6) -> None:
    """Write a cohort: one patient far from symmetry, one with doubts, some scanned again."""
    for number in range(patients):
        changed = {}
        if number == 3:
            changed = {"S_LR": Measurement(Quantity.S_LR, 1.62), "H_LR": Measurement(Quantity.H_LR, 5.5, sd=0.4)}
        if number == 5:
            changed = {"right_FW": missing(Quantity.FW), "left_SJS": doubtful(Quantity.SJS, 0.1)}
        first = head(f"1.2.3.{number}", patient=f"P-{number}", accession=f"A-{number}", date="20250203")
        save(report(first, invent(number, **changed)), folder / str(number))
        if number < repeats:
            again = head(f"1.2.4.{number}", patient=f"P-{number}", accession=f"B-{number}", date="20260203")
            findings = invent(number, **changed)
            save(report(again, _jitter(findings, number)), folder / str(number))


def _jitter(findings: Findings, seed: int) -> Findings:
    random = np.random.default_rng(1000 + seed)

    def moved(numbers: dict[Quantity, Measurement]) -> dict[Quantity, Measurement]:
        return {
            q: m if m.value is None else Measurement(q, m.value * (1 + 0.02 * random.standard_normal()), m.sd, m.flags)
            for q, m in numbers.items()
        }

    joints = {side: JointMeasurements(side, moved(joint.measurements)) for side, joint in findings.joints.items()}
    return Findings(joints, Symmetry(moved(findings.symmetry.measurements)))
