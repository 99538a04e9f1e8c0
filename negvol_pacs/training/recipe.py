"""What is trained, on what, for how long: from the command line or a TOML file."""

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import ConfigDict, TypeAdapter, ValidationError

from negvol_pacs.errors import ConfigError
from negvol_pacs.training.dataset import BONES_SPACING_MM
from negvol_pacs.training.losses import Loss
from negvol_pacs.training.pool import Kind

Architecture = Literal["vnet", "unet", "attention-unet", "multiplanar-unet"]
Precision = Literal["auto", "fp32", "bf16"]


@dataclass(frozen=True)
class TrainConfig:
    """What is trained, on what, for how long.

    Attributes
    ----------
    network
        ``localizer`` or ``bones``.
    output
        Folder of the bundle.
    architecture, channels, stride
        Which network, width of each level, and stride of the V-Net's entry: 2 halves the grid at
        once, which suits the localizer.
    loss
        Of the bones; a localizer has no gap to weight.
    steps
        Training steps.
    shapes, without
        Folder of real shapes, and names of those that are left out; None trains on procedural heads alone.
    heads, head_spacing_mm
        Number of procedural heads, and their spacing.
    dataset, case_share
        Folder of real cases (`negvol dataset`), and their share of all examples beside synthetic ones.
    seed
        Of everything random.
    batch
        Examples a step.
    window, patch
        Voxels along each edge that the network sees when used, and in training (None: the same).
    edge
        Voxels along each edge of a painted example; None for the usual size.
    spacing_mm
        Of the bones' grid.
    augmentation
        Strength of the changes that every step makes to an example: 0 none, 1 the usual.
    variety
        How often synthetic heads get what few patients have, see `negvol_pacs.training.variety`: 0 never, 1 as
        often as is usual in training.
    learning_rate
        Highest; it rises and falls over the training (one cycle).
    precision
        ``auto``: bf16 on a GPU, and on a CPU where it is found to be faster.
    pool, per_step, painters
        See `negvol_pacs.training.pool.Pool`.
    start
        Bundle of the same network whose weights training starts from; None for random ones.
    validate_every, patience
        Steps between two looks at held-out examples (0: none), and how many of them may bring nothing
        better before training stops; the best weights are kept.
    tensorboard
        Write curves for TensorBoard into the run's folder, where that package is installed.
    version
        Of the weights.
    command
        What was typed, for the model card.
    """

    network: Kind
    output: Path
    architecture: Architecture = "vnet"
    loss: Loss = "gap-dice+ce"
    steps: int = 4000
    shapes: Path | None = None
    without: tuple[str, ...] = ()
    heads: int = 4
    head_spacing_mm: float = 0.5
    dataset: Path | None = None
    case_share: float = 0.5
    seed: int = 0
    channels: Sequence[int] = (8, 16, 32, 64)
    stride: int = 1
    batch: int = 1
    window: int = 88
    patch: int | None = None
    edge: int | None = None
    spacing_mm: float = BONES_SPACING_MM
    augmentation: float = 1.0
    variety: float = 1.0
    learning_rate: float = 3e-3
    precision: Precision = "auto"
    pool: int = 200
    per_step: float = 0.12
    painters: int = 1
    start: Path | None = None
    validate_every: int = 0
    patience: int = 5
    tensorboard: bool = True
    version: str = "0.1.0"
    checkpoint_every: int = 50
    held_out: int = 16
    command: Sequence[str] = field(default_factory=tuple)

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    def key(self) -> dict[str, Any]:
        """Everything that decides the result; a checkpoint of another recipe is not resumed."""
        irrelevant = ("output", "command", "painters", "checkpoint_every", "held_out", "version", "tensorboard")
        return {key: str(value) for key, value in asdict(self).items() if key not in irrelevant}


def load_recipe(path: Path | None, given: Mapping[str, Any], defaults: Mapping[str, Any] | None = None) -> TrainConfig:
    """Read a recipe.

    Parameters
    ----------
    path
        TOML file with the fields of `TrainConfig`; None for none.
    given
        Fields that go before those of the file; None counts as not given.
    defaults
        Fields for what neither gives.

    Raises
    ------
    ConfigError
        If the file cannot be read, or a key is unknown or a value bad.
    """
    try:
        fields = {} if path is None else tomllib.loads(path.read_text(encoding="utf-8"))
        fields = dict(defaults or {}) | fields
        fields |= {key: value for key, value in given.items() if value is not None}
        return TypeAdapter(TrainConfig).validate_python(fields)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not a TOML file: {error}") from error
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors())
        raise ConfigError(f"The training cannot be set up: {wrong}") from error
