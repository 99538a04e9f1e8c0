"""All checks in one report, made part by part."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from negvol_pacs import __version__
from negvol_pacs.config import Pipeline
from negvol_pacs.joint.measure import measure
from negvol_pacs.segmentation.weights import load_networks
from negvol_pacs.validation import (
    accuracy,
    agreement,
    asymmetry,
    confidence,
    plots,
    report,
    reposing,
    severity,
    solidity,
    subvoxel,
)
from negvol_pacs.validation.check import Check
from negvol_pacs.validation.part import Part, kept
from negvol_pacs.validation.poses import POSES, Pose
from negvol_pacs.validation.reposed_heads import LabelledHead, Masks, PaintedHead, analytic_head, phantom

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Extent:
    """How much is checked.

    Attributes
    ----------
    quick
        Only accuracy on one coarse grid, mirrored joints and growth in voxels.
    labels
        NIfTI label map of a head, re-posed beside the analytic one.
    pipeline
        Also a synthetic head: its true masks, and painted as CT in each pose and under artefacts, through
        the whole pipeline.
    poses
        Of each head.
    joints
        Random joints whose negative volume is checked.
    painted
        Painted joints whose predicted Dice is held against the true one.
    """

    quick: bool = False
    labels: Path | None = None
    pipeline: bool = False
    poses: int = POSES
    joints: int = solidity.RANDOM
    painted: int = 0

    @property
    def key(self) -> str:
        """What each part is made by: the product's version and all of this but which parts there are."""
        return f"{__version__} {replace(self, pipeline=False)}"


def everything(
    folder: Path, extent: Extent = Extent(), *, resume: bool = False, progress: Progress = lambda what: None
) -> tuple[list[Check], Path]:
    """Run the checks and write the report.

    Parameters
    ----------
    folder
        Where it goes; finished parts are kept in ``parts``.
    extent
        How much is checked.
    resume
        Take the parts that are there already, by the same version and extent.
    progress
        Told what is being done.

    Returns
    -------
    tuple
        All checks, and the path of the Markdown report.
    """
    checks: list[Check] = []
    more: dict[str, list[str]] = {}
    for name, make in Plan(folder, extent, progress).parts():
        part = kept(folder / "parts" / f"{name}.json", make, extent.key, resume=resume)
        checks += part.checks
        more.setdefault(part.section, []).extend(part.lines)
        path = report.write(checks, folder, more)  # the next part may take half an hour
    return checks, path


@dataclass(frozen=True)
class Plan:
    """The parts of a report, in their order.

    Attributes
    ----------
    folder
        Where their pictures go.
    extent
        How much is checked.
    progress
        Told what is being done.
    """

    folder: Path
    extent: Extent
    progress: Progress

    def parts(self) -> Iterator[tuple[str, Callable[[], Part]]]:
        """List the parts by name, each with what makes it."""
        yield "accuracy", self.accuracy
        yield "agreement", self.agreement
        if self.extent.painted:
            yield "confidence", self.confidence
        if self.extent.quick:
            return
        yield "asymmetry", self.asymmetry
        yield "solidity", self.solidity
        yield "subvoxel", self.subvoxel
        for number, (name, study) in enumerate(self.studies(), 1):
            yield name, partial(self.reposed, number, study)
        if self.extent.pipeline:
            yield "artefacts", self.artefacts

    def accuracy(self) -> Part:
        """Hold analytic joints against their known numbers."""
        checks = accuracy.run(accuracy.QUICK_MM if self.extent.quick else accuracy.SPACINGS_MM, self.progress)
        if self.extent.quick:
            return Part(checks)
        plots.convergence(checks, self._picture("convergence.png"))
        return Part(checks, accuracy.SECTION, ["", "![Errors against the spacing](convergence.png)"])

    def agreement(self) -> Part:
        """Compare with mirrored joints and with growth in voxels."""
        checks = []
        for name, joint in accuracy.joints().items():
            self.progress(f"{name}: mirrored, voxels")
            checks += agreement.mirrored(name, joint) + agreement.voxels(name, joint)
        return Part(checks)

    def confidence(self) -> Part:
        """Hold the predicted Dice of painted joints against the true one."""
        checks, outcomes = confidence.run(self.extent.painted, progress=self.progress)
        plots.confidence(outcomes, self._picture("confidence.png"))
        return Part(checks, confidence.SECTION, confidence.markdown(outcomes))

    def asymmetry(self) -> Part:
        """Follow the measures through known asymmetries."""
        checks, tables = asymmetry.run(progress=self.progress)
        return Part(checks, asymmetry.SECTION, asymmetry.markdown(tables))

    def solidity(self) -> Part:
        """Check the solids of random and degenerate joints."""
        return Part(solidity.run(count=self.extent.joints, progress=self.progress))

    def subvoxel(self) -> Part:
        """Compare probabilities with binary masks."""
        checks, rows = subvoxel.run(progress=self.progress)
        return Part(checks, subvoxel.SECTION, subvoxel.markdown(rows))

    def studies(self) -> Iterator[tuple[str, Callable[[], reposing.Study]]]:
        """List the heads that are re-posed."""
        yield "reposed-analytic-head", lambda: self._true_masks("Analytic head", analytic_head)
        labels = self.extent.labels
        if labels:
            yield "reposed-label-map", lambda: self._true_masks("Label map", LabelledHead.of_patient(labels).masks)
        if self.extent.pipeline:
            yield "reposed-synthetic-head", self._synthetic
            yield "reposed-painted-head", self._painted

    def reposed(self, number: int, measured: Callable[[], reposing.Study]) -> Part:
        """Hold the scatter of a re-posed head against its limits."""
        study = measured()
        picture = f"reposing-{number}.png"
        plots.reposing(study, self._picture(picture))
        reposing.write_numbers(study, self.folder / f"reposing-{number}.json")
        lines = reposing.introduction(self.extent.poses) if number == 1 else []
        lines += [*reposing.markdown(study), "", f"![{study.name}, re-posed]({picture})"]
        return Part(reposing.checks(study), reposing.SECTION, lines)

    def artefacts(self) -> Part:
        """Follow the errors of a painted head under artefacts of rising severity."""
        checks, curves = severity.run(progress=self.progress)
        lines = severity.markdown(curves)
        for number, curve in enumerate(curves, 1):
            plots.severity(curve, self._picture(f"artefact-{number}.png"))
            lines += ["", f"![{curve.artefact.name}](artefact-{number}.png)"]
        return Part(checks, severity.SECTION, lines)

    def _true_masks(self, name: str, head: Callable[[Pose], Masks]) -> reposing.Study:
        return reposing.run(
            f"{name}, true masks", lambda pose: measure(head(pose)), self.extent.poses, progress=self.progress
        )

    def _synthetic(self) -> reposing.Study:
        return self._true_masks("Synthetic head", LabelledHead.of_phantom(phantom()).masks)

    def _painted(self) -> reposing.Study:
        find = reposing.through_pipeline(PaintedHead(phantom().labels), load_networks(), Pipeline())
        name = "Synthetic head, painted CT"
        return reposing.run(name, find, self.extent.poses, reposing.PAINTED_LIMITS, self.progress)

    def _picture(self, name: str) -> Path:
        self.folder.mkdir(parents=True, exist_ok=True)
        return self.folder / name
