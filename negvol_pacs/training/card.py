"""The model card that goes with a network's weights."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from negvol_pacs.training.train import TrainConfig

_ORIGINS = {
    "dentalseg": "label map of one patient (gaudot/SlicerDentalSegmentator, Apache-2.0)",
    "vkh": "surface meshes of one head (artisynth/artisynth_models, BSD-like)",
}
_TASKS = {
    "bones": "mandible (condyle) and skull (temporal bone) around one joint",
    "localizer": "the right and the left condylar head in a whole head",
}


def model_card(
    config: TrainConfig,
    heads: Sequence[str],
    figures: Mapping[str, float],
    seconds: float,
    parameters: int,
) -> str:
    """Write the card, Markdown.

    Parameters
    ----------
    config
        What was trained.
    heads
        Names of the heads it was trained on, one an instance.
    figures
        On held-out synthetic examples.
    seconds
        Duration of the training.
    parameters
        Number of weights.
    """
    counted = Counter("procedural" if head.startswith("procedural") else head for head in heads)
    sources = [
        f"- {number} × {_ORIGINS.get(name, 'procedural heads of this package, no patient')}"
        for name, number in counted.items()
    ]
    command = shlex.join(config.command)
    origin = f"Started from the weights in `{config.start}`. " if config.start else ""
    rows = [f"| {name} | {value:.3f} |" for name, value in figures.items()]
    return "\n".join(
        [
            f"# {config.network} {config.version}",
            "",
            "**Trained on synthetic heads; research use only.** Not a medical device.",
            "",
            f"V-Net, {parameters:,} parameters, levels {'-'.join(map(str, config.channels))}, "
            f"for {_TASKS[config.network]}.",
            "",
            "## Training",
            "",
            f"`{command}`" if command else "",
            "",
            f"{origin}Seed {config.seed}, {config.steps} steps of {config.batch}, {seconds / 60:.0f} minutes. "
            "Hounsfield units were painted on deformed, moved label maps; no CT of a patient was used. Heads:",
            "",
            *sources,
            "",
            "## Figures on held-out synthetic examples",
            "",
            f"{config.held_out} examples drawn with another seed from the same heads. They say nothing about patients.",
            "",
            "| figure | mean |",
            "|---|---|",
            *rows,
            "",
            "## Limits",
            "",
            "Never trained on, and never measured against, annotated CT. Children, tumours, fractures, "
            "joint prostheses and fused joints were not among the heads.",
            "",
        ]
    )
