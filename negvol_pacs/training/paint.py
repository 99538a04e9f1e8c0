"""Tissue labels to Hounsfield units, as various scanners would show them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from negvol_pacs.training.appearance import Appearance
from negvol_pacs.training.clothing import clothe
from negvol_pacs.training.fields import average_slices, blur, smooth_field, tensor_generator
from negvol_pacs.training.tissues import BONES, Tissue

__all__ = ["Appearance", "Tissue", "clothe", "paint", "paint_body", "scan"]


def paint(
    labels: NDArray[np.uint8],
    spacing: Sequence[float],
    rng: np.random.Generator,
    appearance: Appearance | None = None,
) -> NDArray[np.float32]:
    """Paint a CT or cone-beam CT of a labelled head.

    Parameters
    ----------
    labels
        `Tissue` of each voxel, shape (z, y, x); axis 0 is the slice axis, in whose
        planes metal streaks.
    spacing
        Millimetres along each axis.
    rng
        Source of everything random; the same state gives the same image.
    appearance
        Scanner and patient; drawn from ``rng`` when None.

    Returns
    -------
    NDArray[np.float32]
        Shape (z, y, x): Hounsfield units, or grey values where the appearance says that
        the scanner is not calibrated.
    """
    appearance = appearance or Appearance.draw(rng)
    scene = _Scene.of(labels, spacing, rng)
    return _scanned(_body(scene, appearance), scene, appearance, rng).numpy()


def paint_body(
    labels: NDArray[np.uint8], spacing: Sequence[float], rng: np.random.Generator, appearance: Appearance
) -> NDArray[np.float32]:
    """Paint the patient without a scanner: Hounsfield units with neither blur, streaks nor noise; see `paint`."""
    return _body(_Scene.of(labels, spacing, rng), appearance).numpy()


def scan(
    body: NDArray[np.float32],
    metal: NDArray[np.bool_],
    spacing: Sequence[float],
    rng: np.random.Generator,
    appearance: Appearance,
) -> NDArray[np.float32]:
    """Scan what `paint_body` painted, brought to the scanner's grid; metal makes streaks. See `paint`."""
    labels = np.where(metal, Tissue.METAL, Tissue.AIR).astype(np.uint8)
    image = torch.from_numpy(np.array(body, np.float32))
    return _scanned(image, _Scene.of(labels, spacing, rng), appearance, rng).numpy()


@dataclass(frozen=True)
class _Scene:
    labels: Tensor
    spacing: tuple[float, ...]
    generator: torch.Generator

    @classmethod
    def of(cls, labels: NDArray[np.uint8], spacing: Sequence[float], rng: np.random.Generator) -> "_Scene":
        return cls(torch.from_numpy(np.ascontiguousarray(labels)), tuple(spacing), tensor_generator(rng))

    def field(self, cell_mm: float) -> Tensor:
        return smooth_field(self.labels.shape, self.spacing, cell_mm, self.generator)

    def voxels(self, mm: float) -> list[float]:
        return [mm / step for step in self.spacing]


def _body(scene: _Scene, look: Appearance) -> Tensor:
    image = _tissues(scene, look)
    for bone in BONES:
        _bone(image, scene, bone, look)
    _air_cells(image, scene, look)
    return image


def _scanned(image: Tensor, scene: _Scene, look: Appearance, rng: np.random.Generator) -> Tensor:
    if look.metal_streaks > 0:
        image += _streaks(scene, look, rng)
    return _grey_values(_scanner(image, scene, look), look)


def _tissues(scene: _Scene, look: Appearance) -> Tensor:
    values = torch.tensor([look.values[tissue] for tissue in Tissue], dtype=torch.float32)
    texture = torch.tensor([look.textures[tissue] for tissue in Tissue], dtype=torch.float32)
    index = scene.labels.int()
    patches = scene.field(6.0).add_(scene.field(2.0), alpha=0.7)
    return values[index].addcmul_(texture[index], patches)


def _bone(image: Tensor, scene: _Scene, bone: Tissue, look: Appearance) -> None:
    """Paint a cortical shell over trabecular bone, in place.

    The depth under the surface is read from the blurred mask (0.5 at the surface, 1 deep
    inside), so thin plates such as the fossa's roof become cortical all through.
    """
    mask = scene.labels == bone
    box = _box(mask, margin=2)
    if box is None:
        return
    mask = mask[box]
    solid = mask | (scene.labels[box] == Tissue.AIR_CELL) if bone is Tissue.SKULL else mask
    shell = look.shells[bone]
    inside = blur(solid.float(), scene.voxels(shell.thickness_mm))
    marrow = inside.sub_(shell.onset).div_(1.0 - shell.onset).clamp_(0.0, 1.0).pow_(shell.sharpness)
    shape, spacing = mask.shape, scene.spacing
    density = smooth_field(shape, spacing, 12.0, scene.generator).mul_(shell.variation).add_(1.0).clamp_(0.5, 1.6)
    grain = smooth_field(shape, spacing, shell.grain_mm, scene.generator, most=96).mul_(shell.grain)
    value = density.mul_(shell.cortical).lerp_(grain.add_(shell.trabecular), marrow)
    view = image[box]
    view.copy_(torch.where(mask, value.clamp_(min=-60.0), view))


def _air_cells(image: Tensor, scene: _Scene, look: Appearance) -> None:
    mask = scene.labels == Tissue.AIR_CELL
    box = _box(mask, margin=0)
    if box is None or look.fluid == 0.0:
        return
    wet = smooth_field(mask[box].shape, scene.spacing, 15.0, scene.generator) < look.fluid
    image[box][mask[box] & wet] = 25.0


def _streaks(scene: _Scene, look: Appearance, rng: np.random.Generator) -> Tensor:
    """Radial bright and dark bands around metal, in the slices that hold it.

    Where the volume holds no metal, the streaks come from teeth outside it.
    """
    depth, height, width = scene.labels.shape
    metal = torch.nonzero(scene.labels == Tissue.METAL).numpy()
    result = torch.zeros(scene.labels.shape)
    sources = [metal[rng.integers(len(metal))] for _ in range(3)] if len(metal) else [_outside(scene, rng)]
    rows = torch.arange(height)[:, None] * scene.spacing[1]
    columns = torch.arange(width)[None, :] * scene.spacing[2]
    slices = np.arange(depth) * scene.spacing[0]
    for source in sources:
        dy, dx = rows - source[1] * scene.spacing[1], columns - source[2] * scene.spacing[2]
        angle, radius = torch.atan2(dy, dx), torch.hypot(dy, dx)
        bands = torch.zeros(height, width)
        for order in rng.integers(2, 24, 5):
            bands += torch.cos(int(order) * angle + float(rng.uniform(0, 2 * math.pi)))
        bands = bands.abs_().sub_(1.2).mul_(look.metal_streaks).mul_(torch.exp(-radius / 45.0))
        bands *= 1.0 - torch.exp(-((radius / 3.0) ** 2))
        height_mm = rng.uniform(1.5, 6.0)
        profile = np.exp(-(((slices - source[0] * scene.spacing[0]) / height_mm) ** 2))
        profile *= 1.0 + 0.5 * rng.standard_normal(depth)
        near = np.flatnonzero(np.abs(profile) > 0.02)
        for index in near:
            result[index].add_(bands, alpha=float(profile[index]))
    return result


def _outside(scene: _Scene, rng: np.random.Generator) -> NDArray[np.float64]:
    depth, height, width = scene.labels.shape
    angle = rng.uniform(0, 2 * math.pi)
    away = rng.uniform(0.7, 1.3)
    return np.array(
        [
            rng.uniform(-0.2, 1.2) * depth,
            height * (0.5 + away * math.sin(angle)),
            width * (0.5 + away * math.cos(angle)),
        ]
    )


def _scanner(image: Tensor, scene: _Scene, look: Appearance) -> Tensor:
    """Blur, thick slices, edge enhancement, shading and noise of the scanner."""
    image = blur(image, scene.voxels(look.blur_mm))
    if look.slice_mm > 1.3 * scene.spacing[0]:
        image = average_slices(image, look.slice_mm / scene.spacing[0])
    if look.sharpening > 0:
        soft = blur(image, scene.voxels(1.0))
        image = image.add(image - soft, alpha=look.sharpening)
    if look.shading > 0:
        image = image.add_(scene.field(60.0), alpha=look.shading)
    if look.noise > 0:
        white = torch.randn(image.shape, generator=scene.generator)
        image.add_(blur(white, scene.voxels(look.noise_mm)), alpha=look.noise * look.noise_gain(scene.spacing))
    if look.coarse_noise > 0:
        image.add_(scene.field(2.5), alpha=look.coarse_noise)
    if look.row_noise > 0:
        rows = torch.randn((*image.shape[:2], 1), generator=scene.generator)
        image.add_(rows, alpha=look.row_noise)
    return image


def _grey_values(image: Tensor, look: Appearance) -> Tensor:
    image = image.mul_(look.scale).add_(look.offset)
    if look.window is not None:
        low, high = look.window
        levels = image.sub_(low).mul_(255.0 / (high - low)).round_().clamp_(0.0, 255.0)
        return levels.mul_((high - low) / 255.0).add_(low)
    return image.clamp_(*look.range)


def _box(mask: Tensor, margin: int) -> tuple[slice, ...] | None:
    if not bool(mask.any()):
        return None
    box = []
    for axis, length in enumerate(mask.shape):
        others = [other for other in range(3) if other != axis]
        hit = torch.nonzero(mask.any(others[1]).any(others[0]))
        box.append(slice(max(0, int(hit[0]) - margin), min(length, int(hit[-1]) + 1 + margin)))
    return tuple(box)
