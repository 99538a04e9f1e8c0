"""Painted examples, made by background processes while the network learns.

Example *n* depends on the seed and on *n* alone, and which examples are in the pool depends on
the step alone: so a training is repeatable, however fast the painters are.
"""

import itertools
import multiprocessing
import os
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import numpy as np
import torch

from negvol_pacs.anatomy import Side
from negvol_pacs.segmentation.grid import on_grid
from negvol_pacs.training.clothing import clothe
from negvol_pacs.training.dataset import HeadExample, JointExample, head_example, joint_example
from negvol_pacs.training.phantom import make_head
from negvol_pacs.training.regions import CoarseHead, Region, coarse_head, cut_region
from negvol_pacs.training.shapes import load_shapes

Kind = Literal["bones", "localizer"]
_CLOTHINGS = 2
"""Each real head is dressed so often: bones alone say nothing of fat, muscle, airway and neck."""
_sources: list[Region] | list[CoarseHead] = []


class Pool:
    """The last ``size`` examples of an endless row.

    Parameters
    ----------
    kind
        Whole heads or joints.
    sources
        File written by `write_sources`.
    seed
        Of the row.
    size
        How many examples are kept.
    per_step
        How many new ones each training step waits for.
    painters
        Background processes.
    first_step
        The training goes on from here.
    """

    def __init__(
        self, kind: Kind, sources: Path, seed: int, size: int, per_step: float, painters: int = 1, first_step: int = 0
    ) -> None:
        self._kind, self._seed, self._per_step, self._step = kind, seed, per_step, first_step
        self._executor = ProcessPoolExecutor(
            painters, multiprocessing.get_context("spawn"), initializer=_start_painter, initargs=(sources,)
        )
        newest = self._newest(first_step)
        self._numbers = itertools.count(max(0, newest - size))
        self._examples: deque[JointExample | HeadExample] = deque(maxlen=size)
        self._waiting: deque[Future[Any]] = deque()
        self._ahead = 4 * painters
        self._wanted = newest - max(0, newest - size)

    def _newest(self, step: int) -> int:
        return 8 + int(step * self._per_step)

    def step(self) -> Sequence[JointExample | HeadExample]:
        """Wait for the examples of the next step."""
        while self._wanted:
            while len(self._waiting) < self._wanted + self._ahead:
                future = self._executor.submit(_paint, self._kind, (self._seed, next(self._numbers)))
                self._waiting.append(future)
            self._examples.append(self._waiting.popleft().result())
            self._wanted -= 1
        self._wanted = self._newest(self._step + 1) - self._newest(self._step)
        self._step += 1
        return self._examples

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._executor.shutdown(cancel_futures=True)


def examples(kind: Kind, sources: Path, seed: int, count: int) -> Iterator[JointExample | HeadExample]:
    """Paint a fixed number of examples in this process."""
    _load(sources)
    for number in range(count):
        yield _paint(kind, (seed, number))


def write_sources(path: Path, kind: Kind, shapes: Path | None, heads: int, seed: int) -> list[str]:
    """Prepare the heads that examples are made from, and save them.

    Parameters
    ----------
    path
        File to write.
    kind
        Whole heads or joints.
    shapes
        Folder of real shapes; None for procedural heads only.
    heads
        Number of procedural heads.
    seed
        Of the procedural heads and of the soft tissue around real bones.

    Returns
    -------
    list[str]
        Name of each head.
    """
    names: list[str] = []
    parts: list[Region | CoarseHead] = []
    for name, labels in _heads(shapes, heads, seed):
        names.append(name)
        if kind == "bones":
            parts.extend(cut_region(labels, side) for side in Side)
        else:
            parts.append(coarse_head(labels))
    partial = path.with_suffix(".partial")
    torch.save([_pack(part) for part in parts], partial)
    partial.replace(path)
    return names


def _heads(shapes: Path | None, heads: int, seed: int) -> Iterator[tuple[str, Any]]:
    if shapes is not None:
        for shape in load_shapes(shapes):
            for number in range(_CLOTHINGS):
                rng = np.random.default_rng((seed, number))
                yield shape.name, on_grid(clothe(shape.bones.array, shape.bones.spacing, rng), shape.bones)
    for number in range(heads):
        yield f"procedural {seed + number}", make_head(seed + number, 0.5).labels


def _start_painter(sources: Path) -> None:
    os.nice(5)
    torch.set_num_threads(1)
    _load(sources)


def _pack(part: Region | CoarseHead) -> dict[str, Any]:
    """Tensors and numbers only, so that the file can be read without unpickling objects."""
    fields = dict(vars(part))
    if isinstance(part, CoarseHead):
        fields["centres"] = {side.value: torch.from_numpy(centre) for side, centre in part.centres.items()}
    return fields


def _load(path: Path) -> None:
    parts = []
    for fields in torch.load(path, weights_only=True):
        if "centres" in fields:
            fields["centres"] = {Side(side): centre.numpy() for side, centre in fields["centres"].items()}
        parts.append(CoarseHead(**fields) if "centres" in fields else Region(**fields))
    _sources[:] = parts


def _paint(kind: Kind, number: tuple[int, int]) -> JointExample | HeadExample:
    rng = np.random.default_rng(number)
    source: Any = _sources[int(rng.integers(len(_sources)))]
    return joint_example(source, rng) if kind == "bones" else head_example(source, rng)
