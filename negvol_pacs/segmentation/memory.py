"""A network that finds too little memory on the GPU goes on with less of it, at last with none.

First only the window that is being looked at stays there, which changes nothing. Then the windows
shrink, where a network can do with less than in training: it normalises over what it sees, so the
numbers change a little (docs/reliability.md says how much), and who asks is told.
"""

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import structlog
import torch
from torch import Tensor, nn

_STEP = 16
"""Windows whose edges are multiples of this suit every network; some name a smaller ``factor``."""

_log = structlog.get_logger()


@dataclass(frozen=True)
class Place:
    """Where a network runs, and how much it sees at once.

    Attributes
    ----------
    device
        Where it sees one window at a time.
    store
        Where the whole image and its logits lie.
    share
        Edge of a window, about this share of that in training.
    """

    device: torch.device
    store: torch.device
    share: float = 1.0

    def window(self, trained: Sequence[int], module: nn.Module) -> tuple[int, ...]:
        """Voxels of a window here, along each axis, where ``trained`` are those in the network's training."""
        if self.share == 1.0:
            return tuple(trained)
        step = int(getattr(module, "factor", _STEP))
        return tuple(step * max(1, round(edge * self.share / step)) for edge in trained)


def with_memory(
    module: nn.Module, infer: Callable[[nn.Module, Place], Tensor], smaller: Sequence[float] = ()
) -> tuple[Tensor, Place]:
    """Run a network where there is memory for it.

    Parameters
    ----------
    module
        The network, on its device.
    infer
        Runs it in a place; is called again in the next one when the GPU's memory does not suffice.
    smaller
        Shares of the trained window that will do, the largest first.

    Returns
    -------
    result
        What ``infer`` returns.
    place
        Where it did.

    Raises
    ------
    MemoryError
        If it is not enough anywhere.
    """
    device = next(module.parameters()).device
    for place in places(device, smaller):
        here = module if place.device == device else copy.deepcopy(module).to(place.device)
        try:
            return infer(here, place), place
        except torch.OutOfMemoryError:
            _log.warning("gpu-memory-short", device=str(place.device), store=str(place.store), share=place.share)
        torch.cuda.empty_cache()  # not in the handler: there the traceback still holds the tensors
    raise MemoryError("the network finds too little memory everywhere")


def places(device: torch.device, smaller: Sequence[float] = ()) -> Iterator[Place]:
    """Yield where a network on a device can run, the fastest first: at last on the CPU, in windows as in training."""
    cpu = torch.device("cpu")
    if device.type != "cpu":
        yield Place(device, device)
        yield from (Place(device, cpu, share) for share in (1.0, *smaller))
    yield Place(cpu, cpu)
