"""Noise and unclear surfaces around a joint are measured and flagged."""

import numpy as np
import pytest

from negvol_pacs.quality import QualityFlag
from negvol_pacs.segmentation import clarity, edges
from negvol_pacs.segmentation.clarity import Traced

SPACING = 0.4
INDEX = (np.indices((80, 80, 80)) - 39.5) * SPACING
RADIUS = np.linalg.norm(INDEX, axis=0).astype(np.float32)
CONDYLE = 6.0 - RADIUS
ROOF = (RADIUS - 9.0) * (INDEX[0] > -2) - 20.0 * (INDEX[0] <= -2)
BONES = (CONDYLE, np.asarray(ROOF, dtype=np.float32))


def image(noise_hu: float = 15.0, band_hu: float = 0.0) -> np.ndarray:
    """A ball under a cup, bands across as of metal, with noise."""
    bone = np.clip(0.5 + np.maximum(*BONES) / 0.8, 0, 1)
    bands = band_hu * np.cos(2 * np.pi * INDEX[2] / 9)
    noise = np.random.default_rng(0).normal(0, noise_hu, bone.shape)
    return np.asarray(40 + 1260 * bone + bands + noise, dtype=np.float32)


def snapped(picture: np.ndarray) -> tuple[np.ndarray, ...]:
    mc, tb = BONES
    return edges.snap(picture, mc, tb, SPACING), edges.snap(picture, tb, mc, SPACING)


def flags(picture: np.ndarray, sure: float = 8.0) -> frozenset[QualityFlag]:
    odds = [np.clip(8 * bone, -sure, sure) for bone in BONES]
    return clarity.doubts(picture, list(map(Traced, odds, BONES, snapped(picture))), RADIUS, SPACING)


@pytest.mark.parametrize("sd", [80.0, 150.0, 300.0])
def test_noise_is_the_standard_deviation_between_the_bones(sd: float) -> None:
    near = RADIUS < clarity.REACH_MM
    assert clarity.noise(image(sd), BONES, near, SPACING) == pytest.approx(sd, rel=0.12)


def test_shift_is_the_distance_of_two_surfaces() -> None:
    near = RADIUS < clarity.REACH_MM
    moved = Traced(CONDYLE, CONDYLE, CONDYLE + np.float32(0.3))
    assert clarity.shift(moved, near) == pytest.approx(0.3)
    assert clarity.shift(Traced(CONDYLE, CONDYLE, CONDYLE), near) == 0
    assert clarity.shift(moved, RADIUS < 3) == 0


def test_flags() -> None:
    assert not flags(image())
    assert not flags(image(0.5 * clarity.NOISE_LIMIT_HU))
    assert QualityFlag.IMAGE_NOISY in flags(image(1.2 * clarity.NOISE_LIMIT_HU))
    assert not flags(image(band_hu=800.0))
    assert flags(image(band_hu=1200.0)) == {QualityFlag.SURFACES_UNCLEAR}


def test_outlines_that_the_image_does_not_confirm() -> None:
    picture = image()
    moved = (CONDYLE + np.float32(0.4), BONES[1])
    found = edges.snap(picture, *moved, SPACING), edges.snap(picture, *moved[::-1], SPACING)
    traced = [Traced(8 * outlined, outlined, edge) for outlined, edge in zip(moved, found, strict=True)]
    assert clarity.doubts(picture, traced, RADIUS, SPACING) == {QualityFlag.SURFACES_UNCLEAR}


def test_a_network_that_hesitates_inside_bone() -> None:
    def entropy(odds: np.ndarray) -> float:
        return clarity.hesitation(Traced(odds, CONDYLE, CONDYLE), RADIUS < clarity.REACH_MM)

    assert entropy(np.zeros_like(RADIUS)) == pytest.approx(np.log(2))
    assert entropy(np.full_like(RADIUS, 50.0)) == pytest.approx(0)
    assert entropy(-2 * CONDYLE) == pytest.approx(entropy(2 * CONDYLE)) != 0
    assert not flags(image(), sure=8.0)
    assert flags(image(), sure=4.0) == {QualityFlag.SURFACES_UNCLEAR}
