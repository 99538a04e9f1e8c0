"""CUDA out of memory, raised where the network runs: less of the GPU, then the CPU, and the same answer."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from structlog.testing import capture_logs
from torch import Tensor, nn

from negvol_pacs.segmentation import memory
from negvol_pacs.segmentation.bones import log_odds
from negvol_pacs.segmentation.localization import heat_maps
from negvol_pacs.segmentation.memory import Place, with_memory
from negvol_pacs.segmentation.networks import VNet
from negvol_pacs.segmentation.weights import Bundle

CPU = torch.device("cpu")
IMAGE = np.random.default_rng(1).normal(size=(24, 16, 16)).astype(np.float32)


class Short(nn.Module):
    """A network that the GPU has no memory for in the first ``times`` windows that it sees."""

    def __init__(self, network: nn.Module, times: int) -> None:
        super().__init__()
        self.network, self.left = network, times

    def forward(self, image: Tensor) -> Tensor:
        if self.left:
            self.left -= 1
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return self.network(image)


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """The places of a network on a GPU, all of them really on the CPU."""

    def places(module: nn.Module) -> Iterator[Place]:
        for _ in range(3):
            yield Place(module, CPU, CPU)

    monkeypatch.setattr(memory, "places", places)


def bundle(times: int = 0) -> Bundle:
    torch.manual_seed(0)
    network = VNet(channels=(2, 4), convolutions=(1, 1)).eval()
    return Bundle(Short(network, times), 1.0, (16, 16, 16), "1")


@pytest.mark.parametrize("function", [log_odds, heat_maps])
@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.usefixtures("gpu")
def test_the_answer_is_the_same_wherever_there_is_memory(function: Callable[..., Any], times: int) -> None:
    with capture_logs() as logs:
        found = function(IMAGE, bundle(times))
    assert [log["event"] for log in logs] == times * ["gpu-memory-short"]
    np.testing.assert_array_equal(found, function(IMAGE, bundle()))


@pytest.mark.usefixtures("gpu")
def test_nowhere_enough_is_an_error() -> None:
    with pytest.raises(MemoryError):
        log_odds(IMAGE, bundle(3))


def test_a_gpu_is_used_wholly_then_for_windows_then_not_at_all() -> None:
    module = nn.Linear(1, 1, device="meta")  # stands for the GPU: what is no CPU
    tried = []

    def infer(place: Place) -> Tensor:
        tried.append((place.device.type, place.store.type))
        if place.device.type != "cpu":
            raise torch.OutOfMemoryError
        return torch.zeros(1)

    with pytest.raises(NotImplementedError, match="meta"):  # has no data to copy; a GPU has
        with_memory(module, infer)
    assert tried == [("meta", "meta"), ("meta", "cpu")]


def test_on_a_cpu_there_is_one_place_and_nothing_is_copied() -> None:
    module = nn.Linear(1, 1)
    (place,) = memory.places(module)
    assert (place.module, place.device, place.store) == (module, CPU, CPU)
