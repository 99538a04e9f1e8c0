import pytest
import torch
from torch.nn import functional

from negvol_pacs.training.losses import Criterion, Loss, gap_weights


def logits_of(classes: torch.Tensor, sureness: float) -> torch.Tensor:
    return functional.one_hot(classes, 3).movedim(-1, 1).float() * sureness


@pytest.fixture
def classes() -> torch.Tensor:
    return torch.arange(4 * 4 * 4).reshape(1, 4, 4, 4) % 3


def test_right_answer_costs_next_to_nothing_and_wrong_one_much(classes: torch.Tensor) -> None:
    loss = Criterion()
    target = functional.one_hot(classes, 3).movedim(-1, 1).float()
    assert loss(logits_of(classes, 20.0), target, None) < 1e-3
    assert loss(logits_of((classes + 1) % 3, 20.0), target, None) > 5.0


def test_cross_entropy_is_that_of_torch_without_weights(classes: torch.Tensor) -> None:
    loss = Criterion()
    target = functional.one_hot(classes, 3).movedim(-1, 1).float()
    logits = torch.randn(1, 3, 4, 4, 4, generator=torch.Generator().manual_seed(0))
    entropy = functional.cross_entropy(logits, classes)
    assert loss(logits, target, None) == pytest.approx(float(loss.dice(logits.softmax(1), target) + entropy), rel=1e-6)


def test_error_in_a_heavy_voxel_costs_more(classes: torch.Tensor) -> None:
    loss = Criterion()
    target = functional.one_hot(classes, 3).movedim(-1, 1).float()
    logits = logits_of(classes, 5.0)
    logits[0, :, 1, 1, 1] = logits[0, :, 1, 1, 1].roll(1)
    light = torch.ones(1, 4, 4, 4)
    heavy = light.clone()
    heavy[0, 1, 1, 1] = 5.0
    assert loss(logits, target, heavy) > loss(logits, target, light)


def test_weights_are_largest_where_the_bones_are_nearest_to_each_other() -> None:
    # A joint space from 0 to 4 mm, the mandible below, the skull above.
    height = torch.linspace(-20, 24, 89)
    mandible, skull = -height, height - 4
    weights = gap_weights(mandible, skull, strength=4.0, sigma_mm=2.5)
    inside = (height >= 0) & (height <= 4)
    assert torch.allclose(weights[inside], weights[inside][0])
    assert weights[inside].min() > weights[~inside].max()
    assert weights[0] == pytest.approx(1.0)
    assert gap_weights(torch.zeros(1), torch.zeros(1), strength=4.0).item() == pytest.approx(5.0)


def test_weights_from_eroded_bones_are_largest_between_them_and_inside_neither() -> None:
    height = torch.linspace(-20, 24, 89)
    weights = gap_weights(-height, height - 4, strength=20.0, erosion_mm=1.5)
    inside = (height >= 0) & (height <= 4)
    assert torch.allclose(weights[inside], weights[inside][0])
    assert weights[inside][0] == pytest.approx(1 + 20 * float(torch.exp(torch.tensor(-(7.0**2) / (2 * 2.5**2)))))
    assert weights[0] == pytest.approx(1.0, abs=1e-3)


@pytest.mark.parametrize(("loss", "parts"), [("ce", (0, 1)), ("dice", (1, 0)), ("dice+ce", (1, 1)), ("gap-ce", (0, 1))])
def test_losses_are_what_their_names_say(loss: Loss, parts: tuple[int, int], classes: torch.Tensor) -> None:
    target = functional.one_hot(classes, 3).movedim(-1, 1).float()
    logits = torch.randn(1, 3, 4, 4, 4, generator=torch.Generator().manual_seed(0))
    criterion = Criterion(loss)
    expected = parts[0] * criterion.dice(logits.softmax(1), target) + parts[1] * functional.cross_entropy(
        logits, classes
    )
    assert float(criterion(logits, target)) == pytest.approx(float(expected), rel=1e-5)
