"""One network as a MONAI bundle: what is written, and sealed by hashes.

The bundle also runs with MONAI's own tools: ``python -m monai.bundle run --bundle_root FOLDER
--config_file FOLDER/configs/inference.json --image CROP.nii.gz --output_dir OUT``. This package
reads the JSON files and never evaluates the expressions in them.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import monai
import numpy as np
import safetensors
import torch
from safetensors.torch import save
from torch import nn

from negvol_pacs.errors import WeightsError
from negvol_pacs.segmentation.intensity import AIR, METAL
from negvol_pacs.segmentation.networks import target
from negvol_pacs.segmentation.shipped import WEIGHTS

INFERENCE, METADATA = "configs/inference.json", "configs/metadata.json"
CARD = "docs/README.md"
SEALED = (INFERENCE, WEIGHTS)
"""Files whose hashes stand in the metadata; the weights are the last."""
CLASSES = {
    "localizer": ("background", "right joint", "left joint"),
    "bones": ("background", "mandible (condyle)", "skull (temporal bone)"),
}
_SCHEMA = "https://github.com/Project-MONAI/MONAI-extra-test-data/releases/download/0.8.1/meta_schema_20240725.json"
_NORMALISE = {"localizer": "normalise_head", "bones": "normalise_voi"}


def save_bundle(
    folder: Path,
    module: nn.Module,
    arguments: Mapping[str, Any],
    *,
    spacing_mm: float,
    window: tuple[int, int, int],
    version: str,
    description: str,
    card: str,
) -> None:
    """Write one network as a MONAI bundle.

    Parameters
    ----------
    folder
        Of the bundle; its name is the network's (``localizer``, ``bones``).
    module, arguments
        The network and what ``build_network`` needs beside the weights; its class names the architecture.
    spacing_mm, window
        The grid it was trained on, and the voxels (z, y, x) that it sees at once.
    version, description
        Of the weights.
    card
        Model card, Markdown: data, command, seed, duration, limits.
    """
    weights = {key: value.detach().cpu().contiguous() for key, value in module.state_dict().items()}
    for part in (INFERENCE, WEIGHTS, CARD):
        (folder / part).parent.mkdir(parents=True, exist_ok=True)
    # Not save_file: it hides the file from the group, whatever the umask.
    (folder / WEIGHTS).write_bytes(save(weights))
    network = {"_target_": target(type(module)), **arguments}
    _write(folder / INFERENCE, _inference(folder.name, network, spacing_mm, window))
    _write(folder / METADATA, _metadata(folder.name, version, description))
    (folder / CARD).write_text(card, encoding="utf-8")
    seal(folder)


def seal(folder: Path) -> None:
    """Write the hashes of a bundle's files into its metadata."""
    metadata = read_json(folder / METADATA)
    metadata["sha256"] = {part: digest((folder / part).read_bytes()) for part in SEALED}
    _write(folder / METADATA, metadata)


def digest(content: bytes) -> str:
    """SHA-256, hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises
    ------
    WeightsError
        If the file is missing or is none.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise WeightsError(f"{path}: {error}") from error
    if not isinstance(content, dict):
        raise WeightsError(f"{path}: not a JSON object.")
    return content


def _write(path: Path, content: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _inference(name: str, network: Mapping[str, Any], spacing_mm: float, window: Sequence[int]) -> dict[str, Any]:
    """Network, grid and the way of one NIfTI volume through it; a left joint has to be mirrored first."""
    normalise = f"$lambda grey: MetaTensor(torch.from_numpy({_NORMALISE[name]}(grey.numpy())), meta=grey.meta)"
    return {
        "imports": [
            "$import torch",
            "$from monai.data import MetaTensor",
            "$from safetensors.torch import load_file",
            f"$from negvol_pacs.segmentation.intensity import {_NORMALISE[name]}",
        ],
        "bundle_root": ".",
        "image": "image.nii.gz",
        "output_dir": "eval",
        "device": "$torch.device('cuda' if torch.cuda.is_available() else 'cpu')",
        "network_def": network,
        "spacing_mm": spacing_mm,
        "window": list(window),
        "preprocessing": {
            "_target_": "Compose",
            "transforms": [
                {"_target_": "LoadImage", "reader": "NibabelReader", "ensure_channel_first": True},
                {"_target_": "Orientation", "axcodes": "SPL", "labels": None},
                {"_target_": "Spacing", "pixdim": "$[@spacing_mm] * 3"},
                {"_target_": "Lambda", "func": normalise},
            ],
        },
        "inferer": {"_target_": "SlidingWindowInferer", "roi_size": "@window", "overlap": 0.5, "mode": "gaussian"},
        "postprocessing": {
            "_target_": "Compose",
            "transforms": [
                {"_target_": "AsDiscrete", "argmax": True},
                {
                    "_target_": "SaveImage",
                    "output_dir": "@output_dir",
                    "output_postfix": "labels",
                    "separate_folder": False,
                },
            ],
        },
        "initialize": [
            "$torch.set_grad_enabled(False)",
            f"$@network_def.load_state_dict(load_file(@bundle_root + '/{WEIGHTS}'))",
            "$@network_def.to(@device).eval()",
        ],
        "volume": "$@preprocessing(@image)",
        "logits": "$@inferer(@volume.as_tensor()[None].to(@device), @network_def)[0]",
        "run": ["$@postprocessing(MetaTensor(@logits.cpu(), meta=@volume.meta))"],
    }


def _metadata(name: str, version: str, description: str) -> dict[str, Any]:
    def tensor(kind: str, values: Sequence[float], channels: Sequence[str]) -> dict[str, Any]:
        named = {str(number): channel for number, channel in enumerate(channels)}
        shape = {"num_channels": len(channels), "spatial_shape": ["16*n"] * 3, "dtype": "float32"}
        return {"type": "image", "format": kind, **shape, "value_range": list(values), "channel_def": named}

    classes = CLASSES[name]
    return {
        "schema": _SCHEMA,
        "version": version,
        "changelog": {version: description},
        "monai_version": monai.__version__.split("+")[0],
        "pytorch_version": torch.__version__.split("+")[0],
        "numpy_version": np.__version__,
        "required_packages_version": {"safetensors": safetensors.__version__},
        "name": f"negvol-pacs {name}",
        "task": "Segmentation of the temporomandibular joint in CT",
        "description": description,
        "authors": "negvol-pacs",
        "copyright": "Apache-2.0",
        "intended_use": "Research use only; trained on synthetic heads.",
        "network_data_format": {
            "inputs": {"image": tensor("hounsfield", (AIR, METAL), ["CT, normalised"])},
            "outputs": {"pred": tensor("logits", (), classes)},
        },
    }
