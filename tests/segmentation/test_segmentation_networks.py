import pytest
import torch

from negvol_pacs.errors import WeightsError
from negvol_pacs.segmentation.multiplanar import MultiPlanarUNet
from negvol_pacs.segmentation.networks import ARCHITECTURES, VNet, architecture, build_network, target


def test_logits_have_the_grid_of_the_image() -> None:
    network = build_network(target(VNet), channels=(4, 8, 16), convolutions=(1, 1, 2), out_channels=3).eval()
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


@pytest.mark.parametrize("name", ["UNet", "os.system", "monai.networks.nets.UNet"])
def test_unknown_network_is_named(name: str) -> None:
    with pytest.raises(WeightsError, match=f"Unknown network '{name}'; known: .*VNet"):
        build_network(name)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_architecture_is_built_by_its_bundle_s_entry_and_learns(name: str) -> None:
    torch.manual_seed(0)
    kind, arguments = architecture(name, (4, 8, 16))
    network = build_network(kind, **arguments)
    image, wanted = torch.rand(1, 1, 16, 16, 16), torch.zeros(1, 16, 16, 16, dtype=torch.long)
    wanted[:, :8] = 2
    optimizer = torch.optim.Adam(network.parameters(), 1e-2)
    losses = []
    for _ in range(30):
        loss = torch.nn.functional.cross_entropy(network(image), wanted)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.7 * losses[0]
    with torch.inference_mode():
        assert network.eval()(image).shape == (1, 3, 16, 16, 16)


def test_unknown_architecture_and_a_stride_that_it_lacks() -> None:
    with pytest.raises(WeightsError, match="Unknown network 'resnet'"):
        architecture("resnet", (4, 8))
    with pytest.raises(WeightsError, match="no stride"):
        architecture("unet", (4, 8), stride=2)


class Bright(torch.nn.Module):
    """Stands for the 2D network: the image's value is the log-odds of the second class."""

    def forward(self, slices: torch.Tensor) -> torch.Tensor:
        return torch.cat([torch.zeros_like(slices), slices], 1)


@pytest.mark.parametrize("view", [(1, 0, 0), (0, 1, 0), (0, 0, -1), (0.6, 0.6, 0.53)])
def test_a_plane_of_any_orientation_gives_its_answer_where_it_was_seen(view: tuple[float, ...]) -> None:
    network = MultiPlanarUNet(out_channels=2, channels=(4, 8, 8), views=[view]).eval()
    network.unet = Bright()
    z, y, x = torch.meshgrid(*[torch.linspace(-1, 1, 33)] * 3, indexing="ij")
    image = (3 * z + 2 * y + x)[None, None]
    seen = network(image).softmax(1)[0, 1]
    inner = (z**2 + y**2 + x**2) < 0.7
    torch.testing.assert_close(seen[inner], image[0, 0].sigmoid()[inner], rtol=0.02, atol=0.02)


def test_probabilities_of_the_planes_are_summed_in_evaluation_and_one_plane_is_seen_in_training() -> None:
    torch.manual_seed(0)
    views = [(1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)]
    network = MultiPlanarUNet(out_channels=2, channels=(4, 8, 8), views=views).eval()
    image = torch.rand(1, 1, 8, 8, 8)
    with torch.inference_mode():
        single = []
        for frame in network._frames:
            single.append(network._look(image, frame))
        torch.testing.assert_close(network(image).softmax(1), torch.stack(single).mean(0), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("arguments", [{"width": 3}, {"channels": (4, 8), "convolutions": (1,)}])
def test_wrong_arguments_are_an_error_of_the_weights(arguments: dict[str, object]) -> None:
    with pytest.raises(WeightsError, match="cannot be built"):
        build_network(target(VNet), **arguments)
