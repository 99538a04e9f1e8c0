"""What spoils an image: pictures that are added to a clean CT, as often as the artefact is severe, and thick slices."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import highdicom as hd
import numpy as np
from numpy.typing import NDArray
from skimage.transform import iradon, radon, rescale

from negvol_pacs.anatomy import Side
from negvol_pacs.segmentation.grid import coordinates, distance_from, on_grid
from negvol_pacs.training.paint import Appearance, paint
from negvol_pacs.training.phantom import Head, make_head
from negvol_pacs.training.phantom.anatomy import Individual
from negvol_pacs.training.tissues import Tissue

Image = NDArray[np.float32]

SPACING_MM = 0.5
CROWNS = frozenset({0, 1, 13, 14, 15, 27})  # upper and lower molars on both sides
SCREW_MM = 2.0
SCREW_AT_MM = np.array(
    [8.0, -16.0, 5.0]
)  # from the right condyle, LPS: ahead of the eminence, as high as the joint space
WATER_PER_MM = 0.02
PHOTONS = 3e5  # of one ray at full dose
RAY_MM = 2.0  # path lengths vary slowly
ANGLES = np.linspace(0.0, 180.0, 120, endpoint=False)
SLAB_MM = 34.0  # above and below the joints: the volumes of interest
_WIDE = (-1e6, 1e6)


@dataclass(frozen=True)
class Scene:
    """One synthetic head and how it looks.

    Attributes
    ----------
    head
        Labels and condylar centres.
    seed
        Of the head, and of its painting.
    clean
        The CT, HU, shape (z, y, x).
    """

    head: Head
    seed: int
    clean: Image

    @classmethod
    def of(cls, seed: int) -> "Scene":
        """Make a head with crowns on its molars and paint it without artefacts."""
        individual = replace(Individual.draw(np.random.default_rng(seed)), crowns=CROWNS, missing_teeth=frozenset())
        head = make_head(seed, SPACING_MM, individual=individual)
        return cls(head, seed, _painted(head.labels, seed))

    def spoiled(self, pattern: Image, severity: float) -> hd.Volume:
        """Return the CT with an artefact, as 12 bits hold it."""
        return on_grid(np.clip(self.clean + np.float32(severity) * pattern, -1024, 3071), self.head.labels)


@dataclass(frozen=True)
class Artefact:
    """Something that spoils an image.

    Attributes
    ----------
    name
        In the report.
    unit
        Of severity.
    severities
        To be tried, rising from above 0.
    spoil
        Prepares a scene and returns its CT by severity.
    """

    name: str
    unit: str
    severities: tuple[float, ...]
    spoil: Callable[[Scene], Callable[[float], hd.Volume]]


def added(pattern: Callable[[Scene], Image]) -> Callable[[Scene], Callable[[float], hd.Volume]]:
    """Spoil by what severity 1 adds to the clean image."""

    def prepare(scene: Scene) -> Callable[[float], hd.Volume]:
        drawn = pattern(scene)
        return lambda severity: scene.spoiled(drawn, severity)

    return prepare


def thick_slices(scene: Scene) -> Callable[[float], hd.Volume]:
    """Average whole slices of the clean CT: thickness and spacing are the severity, a multiple of the clean CT's."""

    def at(thickness_mm: float) -> hd.Volume:
        fine = on_grid(scene.clean, scene.head.labels)
        factor = round(thickness_mm / fine.spacing[0])
        count = len(fine.array) // factor
        thick = fine.array[: count * factor].reshape(count, factor, *fine.array.shape[1:]).mean(axis=1)
        affine = fine.affine.copy()
        affine[:3, 3] += (factor - 1) / 2 * affine[:3, 0]
        affine[:3, 0] *= factor
        return hd.Volume(thick, affine, coordinate_system="PATIENT")

    return at


def _painted(labels: hd.Volume, seed: int, **change: float) -> Image:
    rng = np.random.default_rng([seed, 1])
    look = replace(Appearance.scanner(rng), metal_streaks=0.0, noise=15.0, range=_WIDE)
    return paint(labels.array, labels.spacing, rng, replace(look, **change))  # type: ignore[arg-type]


def noise(scene: Scene) -> Image:
    """Noise of one HU, everywhere alike, correlated over 0.3 mm."""
    pattern = _painted(scene.head.labels, scene.seed, noise=115.0) - scene.clean
    return np.asarray(pattern / pattern.std(), dtype=np.float32)


def low_dose(scene: Scene) -> Image:
    """Noise of a parallel-beam scan at full dose: each ray's variance grows with its path through the head.

    Severity k is the dose divided by k². Thick bone between the temporal bones starves the
    rays from side to side, which leaves the streaks of low dose (photon statistics after
    the logarithm, filtered back-projection; Kak and Slaney 1988, chapter 5). Only the slices
    of the joints have it.
    """
    rng = np.random.default_rng([scene.seed, 2])
    heights = coordinates(scene.head.labels)[0].ravel()
    middle = np.mean([centre[2] for centre in scene.head.centres.values()])
    result = np.zeros_like(scene.clean)
    for index in np.flatnonzero(np.abs(heights - middle) < SLAB_MM):
        result[index] = _ray_noise(scene.clean[index], scene.head.labels.spacing[1], rng)
    return result


def _ray_noise(slice_hu: Image, spacing_mm: float, rng: np.random.Generator) -> Image:
    rows, columns = slice_hu.shape
    side = max(rows, columns)
    square = np.zeros((side, side), np.float32)
    top, left = (side - rows) // 2, (side - columns) // 2
    square[top : top + rows, left : left + columns] = np.maximum(1 + slice_hu / 1000, 0) * WATER_PER_MM
    ratio = min(1.0, spacing_mm / RAY_MM)
    coarse = rescale(square, ratio, anti_aliasing=True)
    paths = radon(coarse, ANGLES, circle=False) * spacing_mm / ratio
    across = (np.arange(side) + 0.5 - side / 2) * ratio + paths.shape[0] / 2 - 0.5
    paths = np.stack([np.interp(across, np.arange(len(ray)), ray) for ray in paths.T], axis=1)
    rays = rng.standard_normal(paths.shape) * np.sqrt(np.exp(paths) / PHOTONS)
    density = iradon(rays, ANGLES, filter_name="cosine", circle=True) / spacing_mm
    hu = density[top : top + rows, left : left + columns] * (1000 / WATER_PER_MM)
    return np.asarray(hu, dtype=np.float32)


def crown_streaks(scene: Scene) -> Image:
    """Streaks of one HU around the crowns of the molars."""
    return (_painted(scene.head.labels, scene.seed, metal_streaks=100.0) - scene.clean) / np.float32(100)


def screw_streaks(scene: Scene) -> Image:
    """Streaks of one HU around a screw beside the right joint; the screw itself adds nothing."""
    labels = scene.head.labels
    array = np.where(labels.array == Tissue.METAL, np.uint8(Tissue.TEETH), labels.array)
    array[distance_from(labels, scene.head.centres[Side.RIGHT] + SCREW_AT_MM) < SCREW_MM] = Tissue.METAL
    screw = on_grid(array, labels)
    return (_painted(screw, scene.seed, metal_streaks=100.0) - _painted(screw, scene.seed)) / np.float32(100)


def grey_values(scene: Scene) -> Image:
    """Half the scale and 600 more: what a cone-beam CT stores instead of Hounsfield units."""
    return np.float32(600) - np.float32(0.5) * scene.clean


def cupping(scene: Scene) -> Image:
    """Shading of one HU: dark in the middle of the head, bright towards the skin (beam hardening and scatter)."""
    z, y, x = coordinates(scene.head.labels)
    middle = np.mean(list(scene.head.centres.values()), axis=0)
    radius = np.hypot(x - middle[0], y - (middle[1] - 10.0)) / 80.0
    inside = np.broadcast_to(np.clip(radius, 0, 1.2) ** 2 - 0.5 + 0 * z, scene.clean.shape)
    return np.where(scene.head.labels.array == Tissue.AIR, 0, inside).astype(np.float32)


ARTEFACTS = (
    Artefact("noise", "HU", (60, 120, 220, 380), added(noise)),
    Artefact("low dose", "× the noise of full dose", (4, 5.5, 10), added(low_dose)),
    Artefact("streaks of crowns", "HU", (2000,), added(crown_streaks)),
    Artefact("streaks near the joint", "HU", (300, 400, 500, 1500), added(screw_streaks)),
    Artefact("cone-beam grey values", "of the change", (1.0,), added(grey_values)),
    Artefact("cupping", "HU", (500, 1200), added(cupping)),
    Artefact("thick slices", "mm", (1.0, 1.5), thick_slices),
)
