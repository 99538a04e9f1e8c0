"""What is compared: patients, folds, networks, losses; and the trainings that this takes."""

import itertools
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import ConfigDict, TypeAdapter, ValidationError

from negvol_pacs.errors import ConfigError
from negvol_pacs.training.losses import Loss
from negvol_pacs.training.recipe import Architecture, Precision

Target = Literal["bones", "apart", "nv", "localizer"]


@dataclass(frozen=True)
class Study:
    """A comparison of networks and losses, k-fold by patient.

    Attributes
    ----------
    shapes, heads, head_spacing_mm
        The patients: real shapes, and procedural heads at their spacing.
    examples
        Painted joints, and heads, of each patient.
    folds, tested
        Each patient is tested on in one of them; how many of them are done (None: all).
    columns
        Networks with their losses, as in the paper's Table 2; the last is used for the other comparisons.
    direct
        Which columns get a network for the negative volume itself: every one, or only the last.
    apart
        Train the last column also as a network per bone.
    sizes
        Numbers of patients to train on, for the training-size curve.
    steps, localizer_steps
        Of each training.
    channels, localizer_channels
        Widths of the networks' levels.
    window, voxels, head_voxels
        Edges that the bones' network sees, of an example of a joint, and of a head.
    spacing_mm
        Of the joints' grid.
    learning_rate, precision, seed
        Of every training.
    """

    shapes: Path | None = None
    heads: int = 8
    head_spacing_mm: float = 0.5
    examples: int = 8
    folds: int = 5
    tested: int | None = None
    columns: Sequence[tuple[Architecture, Loss]] = field(
        default_factory=lambda: [
            ("unet", "ce"),
            ("attention-unet", "ce"),
            ("multiplanar-unet", "gap-ce"),
            ("vnet", "ce"),
            ("vnet", "dice"),
            ("vnet", "gap-ce"),
            ("vnet", "dice+ce"),
        ]
    )
    direct: Literal["every", "last"] = "every"
    apart: bool = True
    sizes: Sequence[int] = (1, 2, 4, 6)
    steps: int = 1500
    localizer_steps: int = 600
    channels: Sequence[int] = (8, 16, 32, 64)
    localizer_channels: Sequence[int] = (16, 32, 64, 96)
    window: int = 88
    voxels: int = 128
    head_voxels: int = 128
    spacing_mm: float = 0.5
    learning_rate: float = 3e-3
    precision: Precision = "auto"
    seed: int = 0

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    def key(self) -> dict[str, str]:
        """Name what decides a unit's figures beside the unit: a study may grow by columns and keep what is done."""
        which = ("folds", "tested", "columns", "direct", "apart", "sizes")
        return {name: str(value) for name, value in asdict(self).items() if name not in which}


QUICK = Study(
    heads=2,
    head_spacing_mm=2.0,
    examples=1,
    folds=2,
    columns=[("unet", "ce"), ("vnet", "dice+ce")],
    sizes=(1,),
    steps=12,
    localizer_steps=4,
    channels=(4, 4, 8),
    localizer_channels=(4, 4, 8),
    window=32,
    voxels=48,
    head_voxels=40,
    spacing_mm=1.2,
    learning_rate=2e-2,
    precision="fp32",
)
"""Seconds instead of hours: it shows that everything works, and nothing else."""


@dataclass(frozen=True)
class Unit:
    """One training and its test.

    Attributes
    ----------
    target
        What is learned: the bones in one network, or in a network each (apart), the negative volume itself,
        or where the joints are.
    architecture, loss
        Of the network.
    fold
        Which one.
    train, test
        Patients.
    """

    target: Target
    architecture: Architecture
    loss: Loss
    fold: int
    train: tuple[str, ...]
    test: tuple[str, ...]

    @property
    def column(self) -> str:
        """Network and loss, for tables."""
        return f"{self.architecture} {self.loss}"

    @property
    def name(self) -> str:
        """Of its files."""
        return f"{self.target}-{self.architecture}-{self.loss}-fold{self.fold}-of{len(self.train)}".replace("+", "_")


def units(study: Study, patients: Sequence[str]) -> Iterator[Unit]:
    """List the trainings of a study.

    Raises
    ------
    ConfigError
        If there are fewer patients than folds, or less than two folds.
    """
    if not 2 <= study.folds <= len(patients):
        raise ConfigError(f"{len(patients)} patients cannot be parted into {study.folds} folds.")
    if not 1 <= (study.tested or study.folds) <= study.folds:
        raise ConfigError(f"{study.tested} of {study.folds} folds cannot be tested on.")
    seen = set()
    for unit in itertools.chain(*(_fold(study, patients, fold) for fold in range(study.tested or study.folds))):
        if unit.name not in seen:
            seen.add(unit.name)
            yield unit


def _fold(study: Study, patients: Sequence[str], fold: int) -> Iterator[Unit]:
    test = tuple(patients[fold :: study.folds])
    train = tuple(patient for patient in patients if patient not in test)
    for architecture, loss in reversed(study.columns):
        yield Unit("bones", architecture, loss, fold, train, test)
        if study.direct == "every" or (architecture, loss) == study.columns[-1]:
            # A network for one mask has no gap between classes.
            plain: Loss = "dice+ce" if loss.startswith("gap") else loss
            yield Unit("nv", architecture, plain, fold, train, test)
    yield Unit("localizer", "vnet", "dice+ce", fold, train, test)
    if study.apart:
        yield Unit("apart", *study.columns[-1], fold, train, test)
    if fold == 0:
        for size in study.sizes:
            if size <= len(train):
                yield Unit("bones", *study.columns[-1], fold, train[:size], test)


def load_study(path: Path) -> Study:
    """Read a study from a TOML file with the fields of `Study`.

    Raises
    ------
    ConfigError
        If it cannot be read, or a key is unknown or a value bad.
    """
    try:
        return TypeAdapter(Study).validate_python(tomllib.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, ValidationError) as error:
        raise ConfigError(f"{path}: {error}") from error
