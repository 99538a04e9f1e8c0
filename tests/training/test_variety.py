from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from negvol_pacs.anatomy import Side
from negvol_pacs.training import pool, variety
from negvol_pacs.training.appearance import Appearance
from negvol_pacs.training.dataset import head_example, joint_example
from negvol_pacs.training.motion import mesh
from negvol_pacs.training.phantom import make_head
from negvol_pacs.training.pool import HeadPlan, Row, examples, write_sources
from negvol_pacs.training.regions import Region, coarse_head, cut_condyle, cut_region
from negvol_pacs.training.shapes import load_mandible
from negvol_pacs.training.tissues import Tissue

POINTS = mesh((48, 48, 48), 1.0)


def ball(radius: float) -> Tensor:
    return radius - POINTS.square().sum(0).sqrt()


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_without_variety_nothing_is_drawn() -> None:
    generator = rng()
    assert not any(variety.Chance(generator, 0.0)(1.0) for _ in range(20))
    assert generator.random() == rng().random()
    happened = [variety.Chance(generator, 0.5)(0.5) for _ in range(400)]
    assert 60 < sum(happened) < 140


@pytest.mark.parametrize("seed", range(4))
def test_a_worn_condyle_is_changed_in_its_upper_half_alone(seed: int) -> None:
    condyle = ball(8.0)
    worn = variety.worn_condyle(condyle, POINTS, POINTS, rng(seed))
    changed = (worn > 0) != (condyle > 0)
    assert 0 < int(changed.sum()) < 0.3 * int((condyle > 0).sum())
    assert float(POINTS[0][changed].min()) > -4.0


def test_pits_of_the_fossa_take_bone_away_near_the_joint() -> None:
    roof = 3.0 - (POINTS[0] - 12.0).abs()
    worn = variety.worn_fossa(roof, POINTS, POINTS, rng())
    lost = (roof > 0) & (worn <= 0)
    assert lost.any()
    assert not ((worn > 0) & (roof <= 0)).any()
    assert float(POINTS[:, lost].square().sum(0).sqrt().max()) < 18.0


def test_a_mixed_condyle_lies_between_two_and_the_ramus_is_the_own() -> None:
    own, other = ball(5.0), ball(9.0)
    mixed = variety.mixed_condyle(own, other, POINTS, rng())
    assert (own > 0).sum() < (mixed > 0).sum() < (other > 0).sum()
    far = POINTS.square().sum(0) > 30.0**2
    torch.testing.assert_close(mixed[far], own[far], atol=0.01, rtol=0)


def test_a_cyst_is_painted_inside_the_bone() -> None:
    condyle, labels = ball(8.0), torch.full((48, 48, 48), int(Tissue.MANDIBLE), dtype=torch.uint8)
    variety.cyst(labels, condyle, POINTS, POINTS, rng())
    hollow = labels == Tissue.SOFT
    assert hollow.any()
    assert float(condyle[hollow].min()) > 0.7


def test_a_plate_lies_on_the_lateral_face_of_the_ramus() -> None:
    ramus = 4.0 - torch.hypot(POINTS[1], POINTS[2])
    labels = torch.zeros((48, 48, 48), dtype=torch.uint8)
    variety.plate(labels, ramus, POINTS, rng(1))
    metal = labels == Tissue.METAL
    assert metal.any()
    assert float(POINTS[2][metal].max()) <= 0.0
    assert float(ramus[metal].max()) <= 0.0


def test_supports_fill_air_alone() -> None:
    for place in (variety.head_support, variety.headrest):
        points = mesh((12, 48, 48), 6.0)
        labels = torch.where(points[2].abs() < 20, int(Tissue.SOFT), int(Tissue.AIR)).to(torch.uint8)
        before = labels.clone()
        place(labels, points, rng(2))
        rest = labels == Tissue.HEADREST
        assert rest.any()
        assert (before[rest] == Tissue.AIR).all()
        torch.testing.assert_close(labels[~rest], before[~rest])


def test_teeth_are_lost_one_by_one_or_all() -> None:
    teeth = torch.full((8, 48, 48), int(Tissue.TEETH), dtype=torch.uint8)
    points = mesh((8, 48, 48), 1.0)
    left = []
    for seed in range(30):
        tissues = teeth.clone()
        variety.lose_teeth(tissues, points, rng(seed))
        left.append(int((tissues == Tissue.TEETH).sum()))
    assert max(left) < teeth.numel()
    assert 0 < left.count(0) < 15


def test_small_fields_are_of_cone_beam_scanners() -> None:
    points = mesh((40, 40, 40), 6.0)
    for seed in range(20):
        shown = ~variety.outside_head_field(points, torch.tensor([0.0, 0.0, 50.0]), rng(seed))
        low, high = points[:, shown].min(1).values, points[:, shown].max(1).values
        assert 66 <= float((high - low)[1]) <= 162
    shown = ~variety.outside_joint_field(mesh((40, 40, 40), 2.0), rng())
    assert shown[20, 20, 20]


def test_a_child_is_smaller_and_its_bones_less_dense() -> None:
    assert float(variety.child_size(rng()).max()) < 1.0
    adult = Appearance.draw(rng())
    child = adult.of_a_child()
    assert child.shells[Tissue.SKULL].cortical < adult.shells[Tissue.SKULL].cortical
    assert child.noise == adult.noise


@pytest.fixture(scope="module")
def region() -> Region:
    return cut_region(make_head(3, spacing_mm=2.0).labels, Side.RIGHT)


def test_all_at_once_gives_joints_with_both_bones(region: Region, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("WORN_CONDYLE", "WORN_FOSSA", "CHILD", "CYST", "PLATE", "HEAD_SUPPORT", "CONE_BEAM_FIELD"):
        monkeypatch.setattr(variety, name, 1.0)
    example = joint_example(region, rng(1), 40, 1.2, variety=1.0, other=region)
    assert example.known is not None
    assert 0.2 < example.known.mean() < 1.0
    assert (example.mandible > 0).any()
    assert (example.skull > 0).any()
    assert not ((example.mandible > 0) & (example.skull > 0)).any()


def test_a_head_in_a_small_field_has_no_labels_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    head = coarse_head(make_head(3, spacing_mm=4.0).labels, 4.0)
    for name in ("CHILD", "CONE_BEAM_FIELD", "LOST_TEETH", "HEADREST"):
        monkeypatch.setattr(variety, name, 1.0)
    field: list[Tensor] = []
    outside: Callable[..., Tensor] = variety.outside_head_field

    def kept(*arguments: object) -> Tensor:
        field.append(outside(*arguments))
        return field[-1]

    monkeypatch.setattr(variety, "outside_head_field", kept)
    example = head_example(head, rng(4), 48, variety=1.0)
    hidden = [field[0].numpy(), field[0].numpy()[:, :, ::-1]]  # every other head is mirrored
    assert any(not example.labels[part].any() for part in hidden)
    assert field[0].float().mean() > 0.3


def test_the_pool_mixes_condyles_of_several_people(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    head = make_head(5, 2.0).labels
    monkeypatch.setattr(pool, "load_mandible", lambda _folder: head)
    monkeypatch.setattr(pool, "load_shapes", lambda *_: iter(()))
    names = write_sources(tmp_path / "s.pt", "bones", HeadPlan(tmp_path, 1, 4, 2.0))
    assert names == ["procedural 4", "mandible"]
    lent = cut_condyle(head, Side.RIGHT)
    row = Row("bones", tmp_path / "s.pt", 1, edge=24, spacing_mm=2.0, variety=1.0)
    monkeypatch.setattr(pool, "OTHER_CONDYLE", 1.0)
    seen = []
    mixed = variety.mixed_condyle
    monkeypatch.setattr(variety, "mixed_condyle", lambda *parts: seen.append(1) or mixed(*parts))
    assert len(list(examples(row, 2))) == 2
    assert len(seen) == 2
    assert lent.mandible[lent.mandible.shape[0] // 2, lent.mandible.shape[1] // 2, lent.mandible.shape[2] // 2] > 0


def test_a_real_mandible_lends_both_condyles(shared_data) -> None:
    mandible = load_mandible(shared_data / "shapes")
    assert mandible is not None
    for side in Side:
        condyle = cut_condyle(mandible[::2, ::2, ::2], side)
        middle = tuple(n // 2 for n in condyle.mandible.shape)
        assert condyle.mandible[middle] > 1.0
