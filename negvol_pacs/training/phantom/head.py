"""A whole head from formulas: the phantom that needs no file."""

from collections.abc import Mapping
from dataclasses import dataclass

import highdicom as hd
import numpy as np
from numpy.typing import NDArray

from negvol_pacs.anatomy import Side
from negvol_pacs.training import neck
from negvol_pacs.training.phantom import cranium, jaw, soft, temporal
from negvol_pacs.training.phantom.anatomy import Individual
from negvol_pacs.training.phantom.canvas import Canvas
from negvol_pacs.training.tissues import Tissue

LOW, HIGH = (-90.0, -118.0, -92.0), (90.0, 90.0, 70.0)
"""Box around the head frame's origin that a head CT of the jaws shows, LPS mm."""


@dataclass(frozen=True)
class Head:
    """A procedural head.

    Attributes
    ----------
    labels
        `Tissue` of each voxel, uint8; array axes z to superior, y to posterior, x to left.
    centres
        Centre of each condylar head, LPS mm.
    individual
        Sizes.
    """

    labels: hd.Volume
    centres: Mapping[Side, NDArray[np.float64]]
    individual: Individual


def make_head(
    seed: int,
    spacing_mm: float = 0.5,
    low: tuple[float, float, float] = LOW,
    high: tuple[float, float, float] = HIGH,
    individual: Individual | None = None,
    *,
    open_mouth: bool = False,
) -> Head:
    """Make a head.

    Parameters
    ----------
    seed
        The same seed gives the same head.
    spacing_mm
        Of the isotropic grid.
    low, high
        Corners (x, y, z) of the field of view, LPS mm, the origin midway between the condyles.
    individual
        Sizes; drawn from the seed when None.
    open_mouth
        Whether the drawn mouth is open, by a random width.
    """
    rng = np.random.default_rng(seed)
    individual = individual or Individual.draw(rng, open_mouth=open_mouth)
    canvas = Canvas.of(low, high, spacing_mm, individual.scale, rng)
    _bones(canvas, individual)
    _soft_tissue(canvas, individual, rng)
    _air(canvas, individual, rng)
    affine = np.diag([0.0, 0.0, 0.0, 1.0])
    affine[[2, 1, 0], [0, 1, 2]] = spacing_mm
    affine[:3, 3] = low
    scale = np.asarray(individual.scale)
    centres = {side: jaw.condyle_centre(individual, side) * scale for side in Side}
    return Head(hd.Volume(canvas.labels, affine, coordinate_system="PATIENT"), centres, individual)


SOFT_TISSUES = (Tissue.SOFT, Tissue.FAT, Tissue.MUSCLE)


def _bones(canvas: Canvas, individual: Individual) -> None:
    """Skull, mandible, teeth and neck; sampled at 1 mm, near the joints as finely as the grid."""
    joints = individual.joints.values()
    canvas.draw(neck.vertebrae((0, 20, -22), 2.0, 6), Tissue.VERTEBRA, 1.0)
    canvas.draw(neck.hyoid((0, -42, -87)), Tissue.OTHER_BONE, 1.0)
    fine = [([c - 30 for c in joint.centre], [c + 30 for c in joint.centre]) for joint in joints]
    # One unevenness moves both faces of the base alike: the thin roof of the fossa stays whole.
    canvas.draw(cranium.skull(individual), Tissue.SKULL, 1.0, rough_mm=0.35, fine=fine)
    canvas.draw(cranium.brain(individual), Tissue.BRAIN, 1.0, rough_mm=0.35, fine=fine)
    centre, axes = jaw.motion(individual)
    canvas.draw(jaw.mandible(individual).placed(centre, axes), Tissue.MANDIBLE, 1.0, rough_mm=0.3, fine=fine)
    for tissue in (Tissue.TEETH, Tissue.METAL):
        upper, lower = (jaw.teeth(individual, upper=up, metal=tissue is Tissue.METAL) for up in (True, False))
        canvas.draw(upper, tissue, 0.5)
        canvas.draw(lower.placed(centre, axes) if lower else None, tissue, 0.5)


def _soft_tissue(canvas: Canvas, individual: Individual, rng: np.random.Generator) -> None:
    """Skin over everything, then what fills the room between skin and bones."""
    canvas.wrap(soft.skin(individual), individual.skin, Tissue.SOFT, Tissue.FAT)
    canvas.draw(soft.muscles(individual), Tissue.MUSCLE, 1.5, rough_mm=1.0, over=(Tissue.FAT,))
    canvas.labels[(canvas.labels == Tissue.FAT) & (canvas.noise((slice(None),) * 3, 7.0, rng) > 0.9)] = Tissue.MUSCLE
    canvas.draw(soft.glands(individual), Tissue.SOFT, 1.5, rough_mm=1.0, over=(Tissue.FAT,))
    for joint in individual.joints.values():
        canvas.draw(cranium.orbit(joint), Tissue.FAT, 1.0, over=SOFT_TISSUES)
        canvas.draw(cranium.eyeball(joint), Tissue.SOFT, 1.0, over=SOFT_TISSUES)


def _air(canvas: Canvas, individual: Individual, rng: np.random.Generator) -> None:
    """Airways, sinuses, ears and mastoid cells."""
    over = (*SOFT_TISSUES, Tissue.BRAIN)
    spaces = [soft.pharynx(individual), cranium.nose_and_sinuses(individual)]
    for joint in individual.joints.values():
        spaces += [temporal.external_meatus(joint), temporal.cartilaginous_meatus(joint), temporal.middle_ear(joint)]
        found = canvas.field(temporal.mastoid_cells(joint), 1.0)
        if found is not None:
            distance, window = found
            cells = canvas.noise(window, 2.2, rng) + 0.4 * canvas.noise(window, 9.0, rng)
            part = canvas.labels[window]
            part[(distance < -0.8) & (cells > individual.aeration) & (part == Tissue.SKULL)] = Tissue.AIR_CELL
    for space in spaces:
        canvas.draw(space, Tissue.AIRWAY, 1.0, over=over)
