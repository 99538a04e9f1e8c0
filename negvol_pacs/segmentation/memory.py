"""A network that finds too little memory on the GPU goes on with less of it, at last with none.

The windows stay as large as in training: the network normalises over what it sees, so smaller ones
would change the numbers. What is spared is everything else, and then the GPU.
"""

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import structlog
import torch
from torch import Tensor, nn

_log = structlog.get_logger()


@dataclass(frozen=True)
class Place:
    """Where a network runs.

    Attributes
    ----------
    module
        The network, on ``device``.
    device
        Where it sees one window at a time.
    store
        Where the whole image and its logits lie.
    """

    module: nn.Module
    device: torch.device
    store: torch.device


def with_memory(module: nn.Module, infer: Callable[[Place], Tensor]) -> Tensor:
    """Run a network where there is memory for it.

    Parameters
    ----------
    module
        The network, on its device.
    infer
        Runs it in a place; is called again in a smaller one when the GPU's memory does not suffice:
        all on the GPU, only one window there, all on the CPU.

    Returns
    -------
    Tensor
        What ``infer`` returns.

    Raises
    ------
    MemoryError
        If it is not enough anywhere.
    """
    for place in places(module):
        try:
            return infer(place)
        except torch.OutOfMemoryError:
            _log.warning("gpu-memory-short", device=str(place.device), store=str(place.store))
        torch.cuda.empty_cache()  # not in the handler: there the traceback still holds the tensors
    raise MemoryError("the network finds too little memory everywhere")


def places(module: nn.Module) -> Iterator[Place]:
    """Yield where a network can run, the fastest first."""
    device, cpu = next(module.parameters()).device, torch.device("cpu")
    if device.type != "cpu":
        yield Place(module, device, device)
        yield Place(module, device, cpu)
        module = copy.deepcopy(module).to(cpu)
    yield Place(module, cpu, cpu)
