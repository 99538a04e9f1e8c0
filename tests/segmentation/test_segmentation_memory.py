"""CUDA out of memory, raised where the network runs: less of the GPU, smaller windows, then the CPU."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from structlog.testing import capture_logs
from torch import Tensor, nn

from negvol_pacs.quality import QualityFlag
from negvol_pacs.segmentation import memory
from negvol_pacs.segmentation.bones import log_odds
from negvol_pacs.segmentation.localization import heat_maps
from negvol_pacs.segmentation.memory import Place, with_memory
from negvol_pacs.segmentation.networks import VNet
from negvol_pacs.segmentation.weights import Bundle

CPU, CUDA = torch.device("cpu"), torch.device("cuda", 0)
IMAGE = np.random.default_rng(1).normal(size=(40, 32, 32)).astype(np.float32)
WINDOW, SMALLER = 32, 30
SHORT = {QualityFlag.SMALLER_WINDOWS}


class Short(nn.Module):
    """A network that the GPU has no memory for: at first, or in windows that are too large."""

    def __init__(self, network: nn.Module, times: int, largest: int) -> None:
        super().__init__()
        self.network, self.left, self.largest, self.factor = network, times, largest, network.factor
        self.seen: list[int] = []

    def forward(self, image: Tensor) -> Tensor:
        self.left -= 1
        if self.left >= 0 or image.numel() > self.largest:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        self.seen.append(image.shape[-1])
        return self.network(image)


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """The places of a network on a GPU, all of them really on the CPU."""
    places = memory.places

    def on_cpu(_device: torch.device, smaller: Sequence[float] = ()) -> Iterator[Place]:
        return (replace(place, device=CPU, store=CPU) for place in places(CUDA, smaller))

    monkeypatch.setattr(memory, "places", on_cpu)


def bundle(times: int = 0, largest: int = WINDOW**3, window: int = WINDOW) -> Bundle:
    torch.manual_seed(0)
    network = VNet(channels=(2, 4), convolutions=(1, 1)).eval()
    return Bundle(Short(network, times, largest), 1.0, (window,) * 3, "1")


@pytest.mark.parametrize(("function", "times"), [(log_odds, 1), (heat_maps, 1), (heat_maps, 2)])
@pytest.mark.usefixtures("gpu")
def test_the_answer_is_the_same_where_the_windows_are(function: Callable[..., Any], times: int) -> None:
    enough = {"largest": IMAGE.size}
    with capture_logs() as logs:
        found, *flags = _tuple(function(IMAGE, bundle(times, **enough)))
    assert [log["event"] for log in logs] == times * ["gpu-memory-short"]
    assert not any(flags)
    np.testing.assert_array_equal(found, _tuple(function(IMAGE, bundle(**enough)))[0])


def _tuple(found: Any) -> tuple[Any, ...]:
    return found if isinstance(found, tuple) else (found,)


@pytest.mark.usefixtures("gpu")
def test_smaller_windows_do_where_there_is_no_memory_for_those_of_the_training() -> None:
    short = bundle(largest=SMALLER**3)
    with capture_logs() as logs:
        found, flags = log_odds(IMAGE, short)
    assert [log["share"] for log in logs] == [1.0, 1.0]
    assert set(short.module.seen) == {SMALLER}
    assert flags == SHORT
    np.testing.assert_array_equal(found, log_odds(IMAGE, bundle(window=SMALLER))[0])


@pytest.mark.usefixtures("gpu")
def test_the_cpu_sees_the_windows_of_the_training() -> None:
    short = bundle(times=3)
    found, flags = log_odds(IMAGE, short)
    assert set(short.module.seen) == {WINDOW}
    assert not flags
    np.testing.assert_array_equal(found, log_odds(IMAGE, bundle())[0])


@pytest.mark.usefixtures("gpu")
def test_nowhere_enough_is_an_error() -> None:
    with pytest.raises(MemoryError):
        log_odds(IMAGE, bundle(largest=SMALLER**3 - 1))


def test_a_gpu_is_used_wholly_then_for_windows_then_for_smaller_ones_then_not_at_all() -> None:
    assert list(memory.places(CUDA, (0.75, 0.5))) == [
        Place(CUDA, CUDA),
        Place(CUDA, CPU),
        Place(CUDA, CPU, 0.75),
        Place(CUDA, CPU, 0.5),
        Place(CPU, CPU),
    ]


def test_on_a_cpu_there_is_one_place_and_nothing_is_copied() -> None:
    module = nn.Linear(1, 1)
    used: list[nn.Module] = []
    result, place = with_memory(module, lambda here, _place: used.append(here) or torch.zeros(1), (0.5,))
    assert (result, used, place) == (torch.zeros(1), [module], Place(CPU, CPU))


def test_off_the_gpu_the_network_is_a_copy() -> None:
    module = nn.Linear(1, 1, device="meta")  # stands for the GPU: what is no CPU, but has no data to copy

    def infer(_module: nn.Module, place: Place) -> Tensor:
        assert place.device.type == "meta"
        raise torch.OutOfMemoryError

    with pytest.raises(NotImplementedError, match="meta"):
        with_memory(module, infer)


@pytest.mark.parametrize(
    ("trained", "levels", "expected"), [((88, 88, 88), 4, (80, 80, 80)), ((104, 96, 8), 4, (96, 88, 8))]
)
def test_edges_of_smaller_windows_suit_the_network(
    trained: tuple[int, ...], levels: int, expected: tuple[int, ...]
) -> None:
    network = VNet(channels=(1,) * levels, convolutions=(1,) * levels)
    assert Place(CPU, CPU, 0.91).window(trained, network) == expected
    assert Place(CPU, CPU).window(trained, network) == trained
    assert Place(CPU, CPU, 0.91).window((96, 128, 16), nn.Identity()) == (80, 112, 16)
