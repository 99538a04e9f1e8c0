"""Predicted against true Dice of both bones, on painted joints from clear to hopeless that no network has seen."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import highdicom as hd
import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation
from scipy.stats import spearmanr

from negvol_pacs.anatomy import Side, Structure
from negvol_pacs.config import Pipeline
from negvol_pacs.markdown import table
from negvol_pacs.segmentation import calibration, confidence, grid
from negvol_pacs.segmentation.masks import JointMasks, clip_to_joint, probability, surface_distance
from negvol_pacs.segmentation.pipeline import segment_joint
from negvol_pacs.segmentation.weights import Networks, load_networks
from negvol_pacs.training.appearance import Appearance
from negvol_pacs.training.metrics import dice
from negvol_pacs.training.paint import paint
from negvol_pacs.training.phantom import make_head
from negvol_pacs.training.phantom.anatomy import Individual
from negvol_pacs.training.tissues import Tissue
from negvol_pacs.validation.artefacts import Scene, cupping, screw_streaks, thick_slices
from negvol_pacs.validation.check import Check

SECTION = "Predicted Dice"
SEED, COUNT = 5040, 40
"""No head of this seed or above was drawn for training, nor for `segmentation.confidence.CALIBRATION`."""
LEAST_RANK = 0.7
BONES = (Structure.MC, Structure.TB)
MANDIBLE, SKULL = (Tissue.MANDIBLE, Tissue.TEETH), (Tissue.SKULL, Tissue.AIR_CELL)
SPOILED = {
    "clear": 0.2,
    "noise": 0.2,
    "streaks": 0.15,
    "thick slices": 0.13,
    "blur": 0.1,
    "soft bone": 0.1,
    "small head": 0.07,
    "cupping": 0.05,
}
"""What an image suffers from, and how often; random scanners, cone-beam and 8-bit grey values come on top."""
SPACINGS_MM = (0.5, 0.6, 0.75)
HALF_MM = np.array([38.0, 46.0, 40.0])  # of the field of view around a joint
TURN_DEG, OFF_MM = 15.0, 1.5


@dataclass(frozen=True)
class Subject:
    """One painted joint.

    Attributes
    ----------
    image, mandible, skull
        Grey values and the true bones, turned like a tilted head.
    side, centre
        Which joint, and where the localizer would have seen it, LPS mm.
    spoiled
        What the image suffers from.
    """

    image: hd.Volume
    mandible: hd.Volume
    skull: hd.Volume
    side: Side
    centre: NDArray[np.float64]
    spoiled: str


@dataclass(frozen=True)
class Outcome:
    """Dice of both bones of one joint within 20 mm of the condylar head, predicted and true."""

    spoiled: str
    side: Side
    predicted: Mapping[Structure, float]
    true: Mapping[Structure, float]


def draw(seed: int) -> Subject:
    """Paint a joint; the same seed gives the same one."""
    rng = np.random.default_rng([seed, 3])
    individual = Individual.draw(rng, open_mouth=bool(rng.random() < 0.15))
    spoiled = str(rng.choice(list(SPOILED), p=list(SPOILED.values())))
    if spoiled == "small head":
        x, y, z = rng.uniform(0.68, 0.85) * np.array(individual.scale)
        individual = replace(individual, scale=(float(x), float(y), float(z)))
    side = Side.RIGHT if spoiled == "streaks" or seed % 2 else Side.LEFT  # the screw is on the right
    middle = np.array([-50.0 if side is Side.RIGHT else 50.0, 0.0, 0.0])
    low, high = (tuple((middle + sign * HALF_MM).tolist()) for sign in (-1, 1))
    head = make_head(seed, float(rng.choice(SPACINGS_MM)), low, high, individual)
    labels = head.labels
    look = _look(rng, spoiled)
    scene = Scene(head, seed, paint(labels.array, labels.spacing, rng, look))
    image = _spoil(scene, spoiled, rng)
    turn = np.eye(4)
    turn[:3, :3] = Rotation.from_euler("xyz", rng.uniform(-TURN_DEG, TURN_DEG, 3), degrees=True).as_matrix()

    def turned(array: NDArray[np.generic], on: hd.Volume) -> hd.Volume:
        return hd.Volume(array, turn @ on.affine, coordinate_system="PATIENT")

    mandible, skull = (turned(np.isin(labels.array, part), labels) for part in (MANDIBLE, SKULL))
    centre = turn[:3, :3] @ head.centres[side] + rng.uniform(-OFF_MM, OFF_MM, 3)
    return Subject(turned(image.array, image), mandible, skull, side, centre, spoiled)


def _look(rng: np.random.Generator, spoiled: str) -> Appearance:
    look = Appearance.draw(rng) if rng.random() < 0.5 else Appearance.scanner(rng)
    look = replace(look, slice_mm=min(look.slice_mm, 1.2))
    if spoiled == "noise":
        return replace(look, noise=float(np.exp(rng.uniform(*np.log((60, 900))))))
    if spoiled == "blur":
        return replace(look, blur_mm=float(rng.uniform(0.8, 1.8)))
    if spoiled == "soft bone":
        share = float(rng.uniform(0.25, 0.6))
        shells = {
            bone: replace(shell, cortical=share * shell.cortical, trabecular=share * shell.trabecular)
            for bone, shell in look.shells.items()
        }
        return replace(look, shells=shells)
    return look


def _spoil(scene: Scene, spoiled: str, rng: np.random.Generator) -> hd.Volume:
    if spoiled == "streaks":
        return scene.spoiled(screw_streaks(scene), float(np.exp(rng.uniform(*np.log((200, 4000))))))
    if spoiled == "cupping":
        return scene.spoiled(cupping(scene), float(rng.uniform(500, 3000)))
    if spoiled == "thick slices":
        return thick_slices(scene)(float(rng.choice([1.0, 1.5, 2.0, 3.0])))
    return grid.on_grid(scene.clean, scene.head.labels)


def judge(subject: Subject, networks: Networks, options: Pipeline) -> Outcome | None:
    """Segment a joint; None where the pipeline finds none."""
    line = calibration.estimate(grid.shrink(subject.image, networks.localizer.spacing_mm).array)
    found = segment_joint(
        subject.image, subject.centre, side=subject.side, networks=networks, options=options, line=line
    )
    if not isinstance(found, JointMasks):
        return None
    geometry = found.mc.get_geometry()
    mandible, skull = (probability(surface_distance(bone, geometry)) for bone in (subject.mandible, subject.skull))
    true = clip_to_joint(mandible, skull, geometry, found.centre)
    near = grid.distance_from(geometry, found.centre) < confidence.REACH_MM
    pairs = zip(BONES, (found.mc, found.tb), true, strict=True)
    overlap = {bone: dice((ours.array > 0.5) & near, (truth > 0.5) & near) for bone, ours, truth in pairs}
    return Outcome(subject.spoiled, subject.side, found.dice, overlap)


def run(
    count: int = COUNT, first: int = SEED, progress: Callable[[str], None] = lambda what: None
) -> tuple[list[Check], list[Outcome]]:
    """Hold the prediction against the truth on painted joints, with the shipped weights."""
    networks, outcomes = load_networks(), []
    for number in range(count):
        progress(f"predicted Dice: joint {number + 1} of {count}")
        outcome = judge(draw(first + number), networks, Pipeline())
        if outcome is not None:
            outcomes.append(outcome)
    return [check for bone in BONES for check in checks(bone, outcomes)], outcomes


def checks(bone: Structure, outcomes: Sequence[Outcome]) -> list[Check]:
    """Hold Spearman's rank correlation against its limit; show the error and the flag's hits."""
    predicted, true = (np.array([getattr(o, name)[bone] for o in outcomes]) for name in ("predicted", "true"))
    rank = float(spearmanr(predicted, true).statistic)
    place = (SECTION, bone.value, "Spearman's correlation with the true Dice", f"{len(outcomes)} joints")
    error = float(np.median(np.abs(predicted - true)))
    return [
        Check(*place, rank, 1.0, 1.0 - rank, 1.0 - LEAST_RANK, ""),
        Check(SECTION, bone.value, "median error of the prediction", place[3], None, None, error, None, ""),
    ]


def interval(predicted: Sequence[float], true: Sequence[float], draws: int = 1000) -> tuple[float, float]:
    """Bootstrap the joints: 2.5th and 97.5th percentile of Spearman's rank correlation."""
    pairs, rng = np.column_stack((predicted, true)), np.random.default_rng(0)
    samples = (pairs[rng.integers(len(pairs), size=len(pairs))] for _ in range(draws))
    ranks = [float(spearmanr(*sample.T).statistic) for sample in samples if (np.ptp(sample, axis=0) > 0).all()]
    low, high = np.percentile(ranks, (2.5, 97.5))
    return float(low), float(high)


def markdown(outcomes: Sequence[Outcome]) -> list[str]:
    """Return what the section shows: the flag's hits, and what a new calibration would be."""
    rows = []
    for bone in BONES:
        limit = confidence.LIMITS[bone]
        pairs = [(o.predicted[bone] < limit, o.true[bone] < limit) for o in outcomes]
        hits = [sum(pair == kind for pair in pairs) for kind in ((True, True), (False, True), (True, False))]
        inner = [o for o in outcomes if 0 < o.predicted[bone] < 1]
        doubts = [confidence.uncalibrated(bone, o.predicted[bone]) for o in inner]
        factor, power = confidence.fit(doubts, [o.true[bone] for o in inner])
        low, high = interval([o.predicted[bone] for o in outcomes], [o.true[bone] for o in outcomes])
        calibration = f"{factor:.3g}, {power:.3g}"
        rows.append([bone.value, f"{low:.2f} to {high:.2f}", f"{limit:g}", *map(str, hits), calibration])
    counted = ("below and flagged", "below, not flagged", "flagged, not below")
    headings = ("bone", "Spearman, 95 %", "limit", *counted, "a, b fitted here")
    return [
        "",
        f"Painted joints that neither network nor fit has seen (from seed {SEED} on): random heads, scanners and",
        "tilts; four of five with noise, streaks, thick slices, blur, soft bone, cupping, or small. Dice within 20 mm",
        "of the condylar head. In the second column Spearman's correlation: 95 % of the bootstrap over joints.",
        "",
        *table(headings, rows),
        "",
        "![Predicted against true Dice](confidence.png)",
    ]
