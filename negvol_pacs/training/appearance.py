"""How one patient looks on one scanner: what `paint` needs beside the shapes."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from negvol_pacs.training.tissues import Tissue


@dataclass(frozen=True)
class Shell:
    """Bone under its surface.

    Attributes
    ----------
    cortical, trabecular
        Hounsfield units of the compact shell and of the spongy inside.
    thickness_mm
        Width of the Gaussian that tells the shell from the inside.
    onset
        Value of the blurred mask at which the inside begins, 0.5 (surface) to 1.
    sharpness
        Exponent of the transition.
    variation
        Relative variation of the cortical density over the bone.
    grain, grain_mm
        Contrast in Hounsfield units and size of the trabeculae.
    """

    cortical: float
    trabecular: float
    thickness_mm: float
    onset: float
    sharpness: float
    variation: float
    grain: float
    grain_mm: float

    @classmethod
    def draw(cls, rng: np.random.Generator, density: float) -> "Shell":
        """Draw a bone from osteoporotic to sclerotic, cortex near ``density`` Hounsfield units."""
        cortical = density * rng.uniform(0.85, 1.15)
        return cls(
            cortical=cortical,
            trabecular=min(float(rng.triangular(0, 300, 1000)), 0.8 * cortical),
            thickness_mm=rng.uniform(0.4, 1.3),
            onset=rng.uniform(0.6, 0.85),
            sharpness=rng.uniform(0.7, 2.0),
            variation=rng.uniform(0.03, 0.25),
            grain=rng.uniform(0, 250),
            grain_mm=rng.uniform(0.8, 3.0),
        )


@dataclass(frozen=True)
class Appearance:
    """Patient, scanner and reconstruction.

    Attributes
    ----------
    values, textures
        Mean and variation in Hounsfield units of each tissue.
    shells
        The bones.
    fluid
        Level under which the unit Gaussian field fills air cells: 0 none are filled, else
        the cells where the field is below are wet.
    metal_streaks
        Amplitude in Hounsfield units, 0 for none.
    blur_mm, slice_mm, sharpening
        Standard deviation of the point spread function, slice thickness, strength of
        a bone kernel's edge enhancement.
    shading
        Amplitude of slow shading (scatter, cupping), Hounsfield units.
    noise, noise_mm, coarse_noise, row_noise
        Standard deviations of the fine noise and its correlation length, of patches over
        a few millimetres, and of whole rows (photon starvation).
    scale, offset
        Grey value = scale × HU + offset; 1 and 0 when calibrated.
    window
        Range saved in 256 levels, saturating outside, or None.
    range
        Smallest and largest grey value saved.
    """

    values: Mapping[Tissue, float]
    textures: Mapping[Tissue, float]
    shells: Mapping[Tissue, Shell]
    fluid: float = 0.0
    metal_streaks: float = 0.0
    blur_mm: float = 0.35
    slice_mm: float = 0.0
    sharpening: float = 0.0
    shading: float = 0.0
    noise: float = 15.0
    noise_mm: float = 0.3
    coarse_noise: float = 0.0
    row_noise: float = 0.0
    scale: float = 1.0
    offset: float = 0.0
    window: tuple[float, float] | None = None
    range: tuple[float, float] = (-1024.0, 3071.0)

    @classmethod
    def draw(cls, rng: np.random.Generator) -> "Appearance":
        """Draw a calibrated CT (half), a cone-beam CT (a third) or an 8-bit image."""
        kind = rng.choice(["ct", "cone-beam", "8-bit"], p=[0.5, 0.33, 0.17])
        cone_beam = kind == "cone-beam"
        low = float(rng.uniform(-1024, -200))
        return cls(
            values=_values(rng),
            textures=_textures(rng),
            shells=_shells(rng),
            fluid=float(rng.uniform(-2, 0.5)) if rng.random() < 0.3 else 0.0,
            metal_streaks=float(rng.uniform(30, 400)) if rng.random() < 0.4 else 0.0,
            blur_mm=float(rng.uniform(0.15, 0.75)),
            slice_mm=float(rng.uniform(0.3, 1.2) if rng.random() < 0.7 else rng.uniform(1.2, 3.0)),
            sharpening=float(rng.uniform(0, 1.2)) if rng.random() < 0.4 else 0.0,
            shading=float(rng.uniform(20, 150)) if cone_beam else float(rng.uniform(0, 20)),
            noise=float(math.exp(rng.uniform(math.log(30), math.log(180))))
            if cone_beam
            else float(math.exp(rng.uniform(math.log(4), math.log(90)))),
            noise_mm=float(rng.uniform(0.1, 0.6)),
            coarse_noise=float(rng.uniform(0, 30)) if rng.random() < 0.5 else 0.0,
            row_noise=float(rng.uniform(0, 40)) if rng.random() < 0.3 else 0.0,
            scale=float(rng.uniform(0.6, 1.3)) if cone_beam else float(rng.uniform(0.95, 1.05)),
            offset=float(rng.uniform(-300, 300)) if cone_beam else float(rng.uniform(-20, 20)),
            window=(low, float(rng.uniform(1000, 2500))) if kind == "8-bit" else None,
            range=(-1024.0, 3071.0),
        )

    @classmethod
    def scanner(cls, rng: np.random.Generator) -> "Appearance":
        """Draw a patient on a calibrated thin-slice head CT, as a demonstration shows it."""
        return cls(
            values=_values(rng) | {Tissue.AIR: -1000.0, Tissue.AIRWAY: -1000.0, Tissue.AIR_CELL: -900.0},
            textures=_textures(rng) | {Tissue.AIR: 0.0, Tissue.AIRWAY: 5.0},
            shells=_adult_shells(rng),
            metal_streaks=120.0,
            blur_mm=0.35,
            sharpening=0.4,
            noise=float(rng.uniform(15, 30)),
        )

    def of_a_child(self) -> "Appearance":
        """Return the same scanner with growing bones: a thin cortex, less dense."""
        shells = {
            bone: replace(
                shell,
                cortical=0.75 * shell.cortical,
                trabecular=0.75 * shell.trabecular,
                thickness_mm=0.7 * shell.thickness_mm,
            )
            for bone, shell in self.shells.items()
        }
        return replace(self, shells=shells)

    def noise_gain(self, spacing: Sequence[float]) -> float:
        """Return what restores the unit deviation of white noise after its blur."""
        return math.prod(max(1.0, math.sqrt(2 * math.sqrt(math.pi) * self.noise_mm / step)) for step in spacing)


def _values(rng: np.random.Generator) -> dict[Tissue, float]:
    water = float(rng.uniform(-15, 15))
    air = float(rng.uniform(-1000, -930))
    return {
        Tissue.AIR: air,
        Tissue.SOFT: float(rng.uniform(10, 60)) + water,
        Tissue.FAT: float(rng.uniform(-125, -60)) + water,
        Tissue.MUSCLE: float(rng.uniform(40, 80)) + water,
        Tissue.BRAIN: float(rng.uniform(25, 45)) + water,
        Tissue.SKULL: 1000.0,
        Tissue.MANDIBLE: 1000.0,
        Tissue.TEETH: float(rng.uniform(1400, 2600)),
        Tissue.METAL: float(rng.uniform(3000, 7000)),
        Tissue.VERTEBRA: 800.0,
        Tissue.OTHER_BONE: 800.0,
        Tissue.AIRWAY: air,
        Tissue.AIR_CELL: float(rng.uniform(-950, -500)),
        Tissue.HEADREST: float(rng.uniform(-980, -60)),
    }


def _textures(rng: np.random.Generator) -> dict[Tissue, float]:
    coarse = float(rng.uniform(3, 15))
    textures = dict.fromkeys(Tissue, coarse)
    textures[Tissue.AIR] = 0.0
    textures[Tissue.AIRWAY] = float(rng.uniform(0, 30))
    textures[Tissue.AIR_CELL] = float(rng.uniform(50, 250))
    textures[Tissue.TEETH] = float(rng.uniform(50, 300))
    textures[Tissue.FAT] = float(rng.uniform(5, 30))
    textures[Tissue.HEADREST] = float(rng.uniform(5, 40))
    return textures


def _shells(rng: np.random.Generator) -> dict[Tissue, Shell]:
    patient = rng.uniform(850, 1750)
    dense = {Tissue.SKULL: 1.05, Tissue.MANDIBLE: 1.0, Tissue.VERTEBRA: 0.85, Tissue.OTHER_BONE: 0.7}
    return {bone: Shell.draw(rng, patient * factor) for bone, factor in dense.items()}


def _adult_shells(rng: np.random.Generator) -> dict[Tissue, Shell]:
    def shell(cortical: float, trabecular: float, thickness_mm: float) -> Shell:
        factor = float(rng.uniform(0.9, 1.1))
        return Shell(cortical * factor, trabecular * factor, thickness_mm, 0.75, 1.0, 0.08, 120.0, 1.0)

    return {
        Tissue.SKULL: shell(1500, 450, 0.9),
        Tissue.MANDIBLE: shell(1450, 350, 0.9),
        Tissue.VERTEBRA: shell(900, 250, 0.6),
        Tissue.OTHER_BONE: shell(700, 200, 0.6),
    }
