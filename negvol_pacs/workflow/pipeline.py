"""From one chosen series to its results in a folder; no network, no queue."""

import contextlib
import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from pydicom import Dataset

from negvol_pacs import __version__
from negvol_pacs.config import Config, Pipeline, Profile
from negvol_pacs.errors import SegmentationEmpty
from negvol_pacs.joint.findings import Findings
from negvol_pacs.joint.measure import measure
from negvol_pacs.quality import QualityFlag
from negvol_pacs.report.algorithm import Algorithm
from negvol_pacs.report.arrays import save_widths
from negvol_pacs.report.change import Changes, changes_since
from negvol_pacs.report.document import Report
from negvol_pacs.report.page import draw_joints
from negvol_pacs.report.seg import build_seg
from negvol_pacs.report.sr import build_sr, result_inputs
from negvol_pacs.report.table import findings_json
from negvol_pacs.report.uids import result_uid
from negvol_pacs.segmentation.pipeline import segment
from negvol_pacs.segmentation.weights import Networks
from negvol_pacs.series.reader import read_volume
from negvol_pacs.series.selection import Selection
from negvol_pacs.series.series import Series
from negvol_pacs.storage import durable

Progress = Callable[[str, float], None]
"""Called with what is being done and the fraction done, 0 to 1."""

EVERYTHING = Profile(ae_title="NEGVOL")
"""SEG, binary, and SR."""


@dataclass(frozen=True)
class Result:
    """What one series gave.

    Attributes
    ----------
    seg, sr, picture, numbers, widths
        Files: DICOM Segmentation (None when neither joint could be segmented, or the profile wants
        none), Comprehensive 3D SR (None where the profile wants none and there is a SEG), PNG, JSON, NPZ.
    seg_uid, sr_uid
        SOP Instance UIDs of the two objects; empty where there is none.
    findings
        The measurements.
    changes
        What changed since the patient's first study, where a report of it is known.
    """

    seg: Path | None
    sr: Path | None
    picture: Path
    numbers: Path
    widths: Path
    seg_uid: str
    sr_uid: str
    findings: Findings
    changes: Changes | None = None


def algorithm(networks: Networks, options: Pipeline, findings: Findings | None = None) -> Algorithm:
    """Name, version and weights of this pipeline; what changes numbers is part of its version.

    Parameters
    ----------
    networks, options
        What it works with.
    findings
        What it found: these tell whether memory was short.
    """
    flags = frozenset().union(*(joint.flags for joint in findings.joints.values())) if findings else frozenset()
    unusual = {"unenhanced": not options.tb_enhancement, "windows": QualityFlag.SMALLER_WINDOWS in flags}
    version = "+".join([__version__, *(name for name, is_so in unusual.items() if is_so)])
    return Algorithm(name="negvol-pacs", version=version, weights_sha256=networks.sha256)


def fingerprint(series: Series, made_by: Algorithm, prior: Report | None = None, profile: Profile = EVERYTHING) -> str:
    """Name of the results of a series: equal fingerprints, equal results."""
    return result_uid(" ".join(["fingerprint", *_variant(profile)]), result_inputs(series, prior), made_by)


def _variant(profile: Profile) -> list[str]:
    """Name what is not as by default in the results."""
    return [value for value in (profile.results, profile.segmentation) if value not in ("all", "binary")]


def process_series(
    selection: Selection,
    networks: Networks,
    config: Config,
    folder: Path,
    now: datetime,
    *,
    progress: Progress | None = None,
    former: Sequence[Dataset] = (),
    prior: Report | None = None,
    profile: Profile = EVERYTHING,
) -> Result:
    """Read, segment, measure and report one series.

    Parameters
    ----------
    selection
        The series that passed the gate, with its flags and order.
    networks
        Loaded weights.
    config
        Its section ``pipeline`` is used.
    folder
        Where the files go; each appears there whole or not at all.
    now
        Content date and time of the results.
    progress
        Called as the work goes on.
    former
        Results of an earlier generation that these ones replace.
    prior
        Report of the patient's first study.
    profile
        Which results are wanted.

    Returns
    -------
    Result
        Files, UIDs and findings.

    Raises
    ------
    SeriesRefused
        If the pixels cannot be read or there is no head.
    """
    tell = progress or (lambda _what, _fraction: None)
    series = selection.series
    tell("Reading the images", 0.0)
    volume = read_volume(series)
    segmentation = segment(volume, networks, config.pipeline, lambda what, part: tell(what, 0.05 + 0.65 * part))
    tell("Measuring the joints", 0.70)
    findings = measure(segmentation.joints, selection.flags | segmentation.flags)
    tell("Writing the results", 0.85)
    made_by = algorithm(networks, config.pipeline, findings)
    seg = sr = changes = None
    if profile.results != "measurements":
        kind = profile.segmentation
        with contextlib.suppress(SegmentationEmpty):
            seg = build_seg(series, volume, segmentation.joints, findings, made_by, now, former, kind)
    if prior is not None:
        changes = changes_since(prior, findings, made_by)
    if profile.results != "segmentation" or seg is None:
        name = "-".join(["sr", *_variant(profile)])
        sr = build_sr(series, findings, seg, made_by, now, former, changes, selection.order, name)
    tell("Drawing the joints", 0.90)
    with _arriving(folder) as new:
        if seg is not None:
            seg.save_as(new / "seg.dcm")
        if sr is not None:
            sr.save_as(new / "sr.dcm")
        draw_joints(volume, findings, new / "joints.png", f"Series …{series.series_instance_uid[-12:]}")
        save_widths(findings, new / "widths.npz")
        (new / "measurements.json").write_text(
            json.dumps(findings_json(findings, changes), indent=2) + "\n", encoding="utf-8"
        )
    tell("Done", 1.0)
    return Result(
        folder / "seg.dcm" if seg is not None else None,
        folder / "sr.dcm" if sr is not None else None,
        folder / "joints.png",
        folder / "measurements.json",
        folder / "widths.npz",
        str(seg.SOPInstanceUID) if seg is not None else "",
        str(sr.SOPInstanceUID) if sr is not None else "",
        findings,
        changes,
    )


@contextlib.contextmanager
def _arriving(folder: Path) -> Iterator[Path]:
    """Yield a folder to write into; its files move to ``folder``, durably, when the block succeeds."""
    durable.make_folder(folder)
    new = folder / ".making"
    shutil.rmtree(new, ignore_errors=True)  # what a killed process left
    new.mkdir()
    try:
        yield new
        for path in sorted(new.iterdir()):
            durable.sync(path)
            durable.move(path, folder / path.name)
    finally:
        shutil.rmtree(new, ignore_errors=True)
