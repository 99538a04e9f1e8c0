"""A network that learns: optimiser, schedule, precision, checkpoint."""

import math
import time
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional

from negvol_pacs.errors import TrainingError
from negvol_pacs.segmentation.networks import VNet, architecture, build_network
from negvol_pacs.training.batches import Batch
from negvol_pacs.training.losses import Criterion
from negvol_pacs.training.recipe import TrainConfig

_TRIALS = 3


class Learner:
    """Network, optimiser and schedule; what a checkpoint holds.

    Parameters
    ----------
    config
        What to train.
    path
        Of the checkpoint.
    out_channels
        Classes, background included.

    Attributes
    ----------
    step, seconds, loss
        Steps taken, time that they took, smoothed loss.
    precision
        ``fp32`` or ``bf16``; None until the first step has chosen.
    """

    def __init__(self, config: TrainConfig, path: Path, out_channels: int = 3) -> None:
        torch.manual_seed(config.seed)
        self._config, self._path = config, path
        kind, self.arguments = architecture(config.architecture, config.channels, config.stride, out_channels)
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.network = build_network(kind, **self.arguments).to(self.device)
        if config.architecture != "multiplanar-unet":  # whose kernels are flat
            self.network = self.network.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
        if config.start is not None:
            _begin_with(self.network, config.start)
        self.parameters = sum(parameter.numel() for parameter in self.network.parameters())
        self._optimizer = torch.optim.AdamW(self.network.parameters(), lr=config.learning_rate, weight_decay=0.01)
        self._schedule = torch.optim.lr_scheduler.OneCycleLR(
            self._optimizer, config.learning_rate, total_steps=config.steps, pct_start=0.1
        )
        self._criterion = Criterion(config.loss if config.network == "bones" else "dice+ce")
        self._best: dict[str, Tensor] | None = None
        self._best_score, self.stale = -math.inf, 0
        self.step, self.seconds, self.loss = 0, 0.0, math.nan
        self.precision = None if config.precision == "auto" else config.precision

    def learn(self, batch: Batch) -> float:
        """Take one step; return its loss.

        Raises
        ------
        TrainingError
            If the loss is no longer a number.
        """
        self.network.train()
        if self.precision is None:
            self.precision = self._faster(batch)
        loss = self._loss(batch, self.precision)
        value = float(loss.detach())
        if not math.isfinite(value):
            raise TrainingError(f"The loss is {value} at step {self.step}; lower the learning rate.")
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self._optimizer.step()
        self._schedule.step()
        self.step += 1
        self.loss = value if math.isnan(self.loss) else 0.98 * self.loss + 0.02 * value
        return value

    def _loss(self, batch: Batch, precision: str) -> Tensor:
        image = batch.image.to(self.device, memory_format=torch.channels_last_3d)
        target = batch.target.to(self.device)
        weights, known = (None if part is None else part.to(self.device) for part in (batch.weights, batch.known))
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=precision == "bf16"):
            logits = self.network.coarse(image) if isinstance(self.network, VNet) else self.network(image)
        if logits.shape != target.shape:  # a stride at the entry
            target = functional.adaptive_avg_pool3d(target, list(logits.shape[2:]))  # type: ignore[arg-type]
            weights = known = None
        loss: Tensor = self._criterion(logits.float(), target, weights, known)
        return loss

    def _faster(self, batch: Batch) -> Any:
        """Precision of the faster step; on a GPU bf16 always is."""
        if self.device.type == "cuda":
            return "bf16"
        taken = {}
        for precision in ("bf16", "fp32"):
            self._turn(batch, precision)  # what a first pass allocates does not count
            began = time.perf_counter()
            for _ in range(_TRIALS):
                self._turn(batch, precision)
            taken[precision] = time.perf_counter() - began
        self._optimizer.zero_grad(set_to_none=True)
        return min(taken, key=lambda precision: taken[precision])

    def _turn(self, batch: Batch, precision: str) -> None:
        self._loss(batch, precision).backward()  # type: ignore[no-untyped-call]

    def consider(self, score: float) -> bool:
        """Keep the weights when they are the best so far; tell whether they are."""
        if score <= self._best_score:
            self.stale += 1
            return False
        self._best_score, self.stale = score, 0
        self._best = {key: value.detach().clone() for key, value in self.network.state_dict().items()}
        return True

    def take_best(self) -> None:
        """Go back to the best weights, where any were kept."""
        if self._best is not None:
            self.network.load_state_dict(self._best)

    def save(self) -> None:
        """Write a checkpoint; a kill while writing leaves the former one."""
        partial = self._path.with_suffix(".partial")
        content = {
            "recipe": self._config.key(),
            "network": self.network.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "schedule": self._schedule.state_dict(),
            "best": self._best,
            "random": torch.get_rng_state(),
        }
        names = ("step", "seconds", "loss", "precision", "stale", "_best_score")
        torch.save(content | {"numbers": {name: getattr(self, name) for name in names}}, partial)
        partial.replace(self._path)

    def resume(self) -> None:
        """Go on from a checkpoint of the same recipe, if there is one."""
        if not self._path.is_file():
            return
        content = torch.load(self._path, map_location=self.device, weights_only=True)
        if content.get("recipe") != self._config.key() or "numbers" not in content:
            return
        self.network.load_state_dict(content["network"])
        self._optimizer.load_state_dict(content["optimizer"])
        self._schedule.load_state_dict(content["schedule"])
        self._best = content["best"]
        torch.set_rng_state(content["random"].cpu())
        for name, value in content["numbers"].items():
            setattr(self, name, value)


def _begin_with(network: nn.Module, bundle: Path) -> None:
    """Copy a bundle's weights."""
    try:
        network.load_state_dict(load_file(bundle / "models" / "model.safetensors"))
    except (OSError, SafetensorError, RuntimeError) as error:
        raise TrainingError(f"{bundle}: training cannot start from these weights: {error}") from error
