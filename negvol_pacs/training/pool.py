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
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import highdicom as hd
import numpy as np
import torch

from negvol_pacs.anatomy import Side
from negvol_pacs.parent import die_with
from negvol_pacs.segmentation.grid import on_grid
from negvol_pacs.training.cases.case import Dataset
from negvol_pacs.training.cases.examples import RealJoint, real_example, real_joints
from negvol_pacs.training.clothing import clothe
from negvol_pacs.training.dataset import (
    BONES_SPACING_MM,
    BONES_VOXELS,
    HEAD_VOXELS,
    HeadExample,
    JointExample,
    head_example,
    joint_example,
)
from negvol_pacs.training.phantom import make_head
from negvol_pacs.training.regions import CoarseHead, Condyle, Region, coarse_head, cut_condyle, cut_region
from negvol_pacs.training.shapes import load_mandible, load_shapes, shape_names
from negvol_pacs.training.variety import OTHER_CONDYLE, Chance

Kind = Literal["bones", "localizer"]
_CLOTHINGS = 2
"""Each real head is dressed so often: bones alone say nothing of fat, muscle, airway and neck."""
_NECK_MM = 40.0
Source = Region | CoarseHead | RealJoint | Condyle
_sources: list[Source] = []


@dataclass(frozen=True)
class HeadPlan:
    """Which heads examples are made from.

    Attributes
    ----------
    shapes
        Folder of real shapes; None for procedural heads only.
    procedural
        Number of procedural heads.
    seed
        Of the procedural heads and of the soft tissue around real bones.
    spacing_mm
        Of the procedural heads.
    dataset, cases
        Folder of real cases, and which of them; they are for the bones alone.
    without
        Real shapes that are left out.
    """

    shapes: Path | None
    procedural: int
    seed: int
    spacing_mm: float = 0.5
    dataset: Path | None = None
    cases: tuple[str, ...] = ()
    without: tuple[str, ...] = ()


@dataclass(frozen=True)
class Row:
    """An endless row of examples.

    Attributes
    ----------
    kind
        Whole heads or joints.
    sources
        File written by `write_sources`.
    seed
        Example n depends on the seed and on n alone.
    edge
        Voxels along each edge of an example; None for the usual size.
    spacing_mm
        Of an example of a joint.
    case_share
        So many of all examples come from real cases, where there are both.
    variety
        Of the synthetic ones, see `negvol_pacs.training.variety`.
    """

    kind: Kind
    sources: Path
    seed: int
    edge: int | None = None
    spacing_mm: float = BONES_SPACING_MM
    case_share: float = 0.5
    variety: float = 0.0


class Pool:
    """The last ``size`` examples of an endless row.

    Parameters
    ----------
    row
        What to paint.
    size
        How many examples are kept.
    per_step
        How many new ones each training step waits for.
    painters
        Background processes; 0 paints in this one.
    first_step
        The training goes on from here.
    """

    def __init__(self, row: Row, size: int, per_step: float, painters: int = 1, first_step: int = 0) -> None:
        self._row, self._per_step, self._step = row, per_step, first_step
        self._executor: ProcessPoolExecutor | None = None
        if painters:
            start = (row.sources, os.getpid())
            context = multiprocessing.get_context("spawn")
            self._executor = ProcessPoolExecutor(painters, context, initializer=_start_painter, initargs=start)
        else:
            _load(row.sources)
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
        while self._wanted and self._executor is None:
            self._examples.append(_paint(self._row, next(self._numbers)))
            self._wanted -= 1
        while self._wanted and self._executor is not None:
            while len(self._waiting) < self._wanted + self._ahead:
                future = self._executor.submit(_paint, self._row, next(self._numbers))
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
        if self._executor is not None:
            self._executor.shutdown(cancel_futures=True)


def examples(row: Row, count: int) -> Iterator[JointExample | HeadExample]:
    """Paint the first examples of a row in this process."""
    _load(row.sources)
    for number in range(count):
        yield _paint(row, number)


def write_sources(path: Path, kind: Kind, plan: HeadPlan) -> list[str]:
    """Prepare the heads that examples are made from, and save them.

    Parameters
    ----------
    path
        File to write.
    kind
        Whole heads or joints.
    plan
        Which heads.

    Returns
    -------
    list[str]
        Name of each head.
    """
    names: list[str] = []
    parts: list[Source] = []
    for name, labels in heads(plan):
        names.append(name)
        if kind == "bones":
            parts.extend(cut_region(labels, side) for side in Side)
        else:
            parts.append(coarse_head(labels))
    mandible = None if plan.shapes is None or kind != "bones" else load_mandible(plan.shapes)
    if mandible is not None:
        names.append("mandible")
        parts.extend(cut_condyle(mandible, side) for side in Side)
    if plan.dataset is not None:
        cases = Dataset(plan.dataset)
        for name in plan.cases:
            names.append(f"case {name}")
            parts.extend(real_joints(cases.read(name)))
    partial = path.with_suffix(".partial")
    torch.save([_pack(part) for part in parts], partial)
    partial.replace(path)
    return names


def heads(plan: HeadPlan) -> Iterator[tuple[str, hd.Volume]]:
    """Make the synthetic heads of a plan: name and `Tissue` of each voxel; a patient's name may come again."""
    if plan.shapes is not None:
        for shape in load_shapes(plan.shapes, plan.without):
            bones = _with_neck(shape.bones)
            for number in range(_CLOTHINGS):
                rng = np.random.default_rng((plan.seed, number))
                yield shape.name, on_grid(clothe(bones.array, bones.spacing, rng), bones)
    for number in range(plan.procedural):
        yield _procedural(plan, number), make_head(plan.seed + number, plan.spacing_mm).labels


def patients(plan: HeadPlan) -> list[str]:
    """Name the patients of `heads`, in their order, each once."""
    real = [] if plan.shapes is None else shape_names(plan.shapes, plan.without)
    return real + [_procedural(plan, number) for number in range(plan.procedural)]


def _procedural(plan: HeadPlan, number: int) -> str:
    return f"procedural {plan.seed + number}"


def _with_neck(bones: hd.Volume) -> hd.Volume:
    """Room below, so that clothing makes a neck: a head CT ends on no table of bones."""
    count = round(_NECK_MM / float(bones.spacing[0]))
    affine = np.array(bones.affine)
    affine[:3, 3] -= count * affine[:3, 0]
    array = np.pad(bones.array, ((count, 0), (0, 0), (0, 0)))
    return hd.Volume(array, affine, coordinate_system="PATIENT")


def _start_painter(sources: Path, parent: int) -> None:
    die_with(parent)  # killed, the training could not stop its painters
    os.nice(5)
    torch.set_num_threads(1)
    _load(sources)


def _pack(part: Source) -> dict[str, Any]:
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
        kinds = {"centres": CoarseHead, "known": RealJoint, "skull": Region, "mandible": Condyle}
        parts.append(next(kind for name, kind in kinds.items() if name in fields)(**fields))
    _sources[:] = parts


def _paint(row: Row, number: int) -> JointExample | HeadExample:
    rng = np.random.default_rng((row.seed, number))
    real = [source for source in _sources if isinstance(source, RealJoint)]
    drawn = [source for source in _sources if isinstance(source, Region | CoarseHead)]
    chosen: list[RealJoint] | list[Region | CoarseHead] = real or drawn
    if real and drawn:
        chosen = real if rng.random() < row.case_share else drawn
    source = chosen[int(rng.integers(len(chosen)))]
    if isinstance(source, RealJoint):
        return real_example(source, rng, row.edge or BONES_VOXELS, row.spacing_mm)
    if isinstance(source, Region):
        other = _other(source, rng) if Chance(rng, row.variety)(OTHER_CONDYLE) else None
        return joint_example(source, rng, row.edge or BONES_VOXELS, row.spacing_mm, variety=row.variety, other=other)
    return head_example(source, rng, row.edge or HEAD_VOXELS, row.variety)


def _other(source: Region, rng: np.random.Generator) -> Region | Condyle | None:
    """Draw somebody whose condyle is mixed into that of a joint."""
    others = [part for part in _sources if isinstance(part, Region | Condyle) and part is not source]
    return others[int(rng.integers(len(others)))] if others else None
