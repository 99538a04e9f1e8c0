"""Train a network on painted heads and real cases, and write it as a MONAI bundle."""

import json
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from negvol_pacs.errors import TrainingError
from negvol_pacs.segmentation.bundle import save_bundle
from negvol_pacs.segmentation.networks import title
from negvol_pacs.training.batches import draw
from negvol_pacs.training.card import model_card
from negvol_pacs.training.cases.case import Dataset
from negvol_pacs.training.dataset import HEAD_VOXELS, HeadExample, JointExample, head_spacing
from negvol_pacs.training.learner import Learner
from negvol_pacs.training.pool import HeadPlan, Pool, Row, examples, write_sources
from negvol_pacs.training.recipe import TrainConfig
from negvol_pacs.training.score import score

_HELD_OUT_SEED = 1_000_003
"""Examples for the figures of the card are drawn from another row than those for training."""

Progress = Callable[[int, int, float], None]
"""Step, number of steps, smoothed loss."""


def train(config: TrainConfig, runs: Path, progress: Progress | None = None) -> dict[str, float]:
    """Train one network and write its bundle.

    An interrupted training of the same recipe goes on from its last checkpoint.

    Parameters
    ----------
    config
        What to train.
    runs
        Folder for prepared heads, checkpoints and TensorBoard's curves.
    progress
        Called after each step.

    Returns
    -------
    dict[str, float]
        Figures on held-out synthetic examples, as the model card gives them.

    Raises
    ------
    TrainingError
        If the bundle's folder is not called as the network, the heads cannot be made or the loss is no
        longer a number.
    """
    if config.output.name != config.network:  # it names the bundle; better now than after hours
        raise TrainingError(f"{config.output}: the folder of this bundle must be called {config.network}.")
    folder = runs / config.network
    folder.mkdir(parents=True, exist_ok=True)
    sources = folder / "sources.pt"
    names = _sources(config, sources)
    learner = Learner(config, folder / "checkpoint.pt")
    learner.resume()
    row = Row(config.network, sources, config.seed, config.edge, config.spacing_mm, config.case_share, config.variety)
    with closing(_Curves(folder / "tensorboard" if config.tensorboard else None, learner.step)) as curves:
        _learn(config, learner, row, curves, progress)
    learner.save()
    learner.take_best()
    figures = score(learner.network.eval(), _held_out(config, row), config.window, spacing_of(config))
    edge = config.window
    save_bundle(
        config.output,
        learner.network,
        learner.arguments,
        spacing_mm=spacing_of(config),
        window=(edge, edge, edge),
        version=config.version,
        description=f"{title(config.architecture)} for {config.network}, trained on "
        f"{'real cases and ' if config.dataset else ''}synthetic heads.",
        card=model_card(
            config,
            names,
            figures=figures,
            seconds=learner.seconds,
            parameters=learner.parameters,
            steps=learner.step,
        ),
    )
    return figures


def spacing_of(config: TrainConfig) -> float:
    """Spacing, mm, of the examples, on which the network is used."""
    return config.spacing_mm if config.network == "bones" else head_spacing(config.edge or HEAD_VOXELS)


def _learn(config: TrainConfig, learner: Learner, row: Row, curves: "_Curves", progress: Progress | None) -> None:
    began = time.monotonic() - learner.seconds
    validation: Sequence[JointExample | HeadExample] | None = None
    with Pool(row, config.pool, config.per_step, config.painters, learner.step) as pool:
        while learner.step < config.steps and not (config.validate_every and learner.stale >= config.patience):
            curves.add(learner.step, loss=learner.learn(draw(config, pool.step(), learner.step)))
            learner.seconds = time.monotonic() - began
            if config.validate_every and learner.step % config.validate_every == 0:
                validation = validation or _held_out(config, row)
                figures = score(learner.network.eval(), validation, config.window, spacing_of(config))
                # For all that is not a share less is better.
                learner.consider(float(np.mean([v if "mm" not in name else -v for name, v in figures.items()])))
                curves.add(learner.step, **figures)
            if progress:
                progress(learner.step, config.steps, learner.loss)
            if learner.step % config.checkpoint_every == 0:
                learner.save()


def _held_out(config: TrainConfig, row: Row) -> list[JointExample | HeadExample]:
    return list(examples(replace(row, seed=config.seed + _HELD_OUT_SEED), config.held_out))


def _sources(config: TrainConfig, path: Path) -> list[str]:
    """Prepare the heads once a recipe."""
    cases: tuple[str, ...] = ()
    if config.dataset is not None:
        if config.network != "bones":
            raise TrainingError("Real cases teach the bones alone.")
        cases = tuple(Dataset(config.dataset).names())
        if not cases:
            raise TrainingError(f"{config.dataset} holds no cases; see negvol dataset add.")
    seed, spacing = config.seed, config.head_spacing_mm
    plan = HeadPlan(config.shapes, config.heads, seed, spacing, config.dataset, cases, config.without)
    key = {name: str(value) for name, value in asdict(plan).items()}
    note = path.with_suffix(".json")
    if path.is_file() and note.is_file():
        known = json.loads(note.read_text(encoding="utf-8"))
        if known["key"] == key:
            return list(known["names"])
    names = write_sources(path, config.network, plan)
    if not names:
        raise TrainingError("No heads to train on: give a folder of shapes or a number of procedural heads.")
    note.write_text(json.dumps({"key": key, "names": names}), encoding="utf-8")
    return names


class _Curves:
    """TensorBoard's curves; nothing where it is not installed or not wanted."""

    def __init__(self, folder: Path | None, first_step: int) -> None:
        self._writer: Any = None
        if folder is not None:
            try:
                from torch.utils.tensorboard import SummaryWriter
            except ImportError:
                return
            # What a killed run wrote after its last checkpoint is done again.
            self._writer = SummaryWriter(folder, purge_step=first_step)

    def add(self, step: int, **figures: float) -> None:
        """Add a point to each curve."""
        if self._writer is not None:
            for name, value in figures.items():
                self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        """Write what is left."""
        if self._writer is not None:
            self._writer.close()
