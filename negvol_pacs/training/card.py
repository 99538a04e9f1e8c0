"""The model card that goes with a network's weights."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from negvol_pacs.segmentation.networks import title

if TYPE_CHECKING:
    from negvol_pacs.training.recipe import TrainConfig

_ORIGINS = {
    "dentalseg": "label map of one patient (gaudot/SlicerDentalSegmentator, Apache-2.0)",
    "vkh": "surface meshes of one head (artisynth/artisynth_models, BSD-like)",
    "mandible": "mandible of one patient, whose condyles were mixed into those of the heads "
    "(DCBIA-OrthoLab/SlicerAutomatedDentalTools, 3D Slicer licence)",
    "procedural": "procedural heads of this package, no patient",
    "case": "outlined heads of a dataset (negvol dataset list)",
}
_TASKS = {
    "bones": "mandible (condyle) and skull (temporal bone) around one joint",
    "localizer": "the right and the left condylar head in a whole head",
}


def model_card(
    config: TrainConfig,
    heads: Sequence[str],
    *,
    figures: Mapping[str, float],
    seconds: float,
    parameters: int,
    steps: int,
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
    steps
        That were taken.
    """
    counted = Counter(head.partition(" ")[0] for head in heads)
    sources = [f"- {number} × {_ORIGINS[name]}" for name, number in counted.items()]
    real = counted["case"]
    data = "synthetic heads" if not real else "real cases and synthetic heads" if real < len(heads) else "real cases"
    painted = "Hounsfield units were painted on deformed, moved label maps; no CT of a patient was used."
    if real:
        painted = f"{config.case_share:.0%} of the examples, all where there are no others, came from outlined CT."
    command = shlex.join(config.command)
    origin = f"Started from the weights in `{config.start}`. " if config.start else ""
    rows = [f"| {name} | {value:.3f} |" for name, value in figures.items()]
    return "\n".join(
        [
            f"# {config.network} {config.version}",
            "",
            f"**Trained on {data}; research use only.** Not a medical device.",
            "",
            f"{title(config.architecture)}, {parameters:,} parameters, levels {'-'.join(map(str, config.channels))}, "
            f"for {_TASKS[config.network]}.",
            "",
            "## Training",
            "",
            f"`{command}`" if command else "",
            "",
            f"{origin}Seed {config.seed}, {steps} steps of {config.batch}, {seconds / 60:.0f} minutes, "
            f"loss {config.loss if config.network == 'bones' else 'dice+ce'}. {painted} Heads:",
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
            f"Never {'' if real else 'trained on, and never '}measured against, annotated CT. "
            f"{'Tumours' if config.variety else 'Worn joints, children, tumours'}, fractures, joint prostheses and "
            "fused joints were not among the heads.",
            "",
        ]
    )
