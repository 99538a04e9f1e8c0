import pytest
import torch

from negvol_pacs.errors import WeightsError
from negvol_pacs.segmentation.networks import VNet, build_network


def test_logits_have_the_grid_of_the_image() -> None:
    network = build_network("VNet", channels=(4, 8, 16), convolutions=(1, 1, 2), out_channels=3).eval()
    with torch.inference_mode():
        logits = network(torch.rand(2, 1, 8, 16, 12))
    assert logits.shape == (2, 3, 8, 16, 12)
    assert torch.isfinite(logits).all()


def test_every_level_halves_the_grid() -> None:
    assert VNet(channels=(2, 4, 8, 16), convolutions=(1, 1, 1, 1)).factor == 8


def test_the_usual_network_is_small_enough_to_ship() -> None:
    size = sum(parameter.numel() * parameter.element_size() for parameter in VNet().parameters())
    assert size <= 16 << 20


def test_a_window_sees_context_at_every_level() -> None:
    network = VNet(channels=(2, 4, 8), convolutions=(1, 1, 1), norm="BATCH").eval()
    image = torch.zeros(1, 1, 32, 32, 32, requires_grad=True)
    network(image)[0, 0, 16, 16, 16].backward()
    assert image.grad is not None
    reach = torch.nonzero(image.grad[0, 0]).amax(0) - 16
    assert (reach >= 8).all()


def test_unknown_network_is_named() -> None:
    with pytest.raises(WeightsError, match="Unknown network 'UNet'; known: VNet"):
        build_network("UNet")


@pytest.mark.parametrize("arguments", [{"width": 3}, {"channels": (4, 8), "convolutions": (1,)}])
def test_wrong_arguments_are_an_error_of_the_weights(arguments: dict[str, object]) -> None:
    with pytest.raises(WeightsError, match="cannot be built"):
        build_network("VNet", **arguments)
