"""The networks' weights: MONAI bundles with safetensors, never pickles."""

import hashlib
import json
import sysconfig
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import monai
import numpy as np
import safetensors
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import nn

import negvol_pacs
from negvol_pacs.config import Pipeline
from negvol_pacs.errors import WeightsError
from negvol_pacs.segmentation.networks import build_network

BUNDLES = ("localizer", "bones")
_TARGET = "negvol_pacs.segmentation.networks."
_INFERENCE = Path("configs/inference.json")
_METADATA = Path("configs/metadata.json")
_WEIGHTS = Path("models/model.safetensors")


@dataclass(frozen=True)
class Bundle:
    """One network, ready to run.

    Attributes
    ----------
    module
        In evaluation mode, on its device.
    spacing_mm
        Of the isotropic grid that it was trained on.
    window
        Voxels (z, y, x) that it sees at once.
    version
        Of the weights.
    """

    module: nn.Module
    spacing_mm: float
    window: tuple[int, int, int]
    version: str


@dataclass(frozen=True)
class Networks:
    """All networks of the pipeline.

    Attributes
    ----------
    localizer
        Whole head to background, right joint, left joint.
    bones
        VOI of a right joint to background, MC, TB.
    device
        Where they are.
    sha256
        Over the weights and the inference arguments of all, hexadecimal.
    version
        Of the weights.
    """

    localizer: Bundle
    bones: Bundle
    device: torch.device
    sha256: str
    version: str


def models_folder() -> Path:
    """Find the bundles that came with the package: beside it, or in the installation's data folder.

    Raises
    ------
    WeightsError
        If there are none.
    """
    beside = Path(negvol_pacs.__file__).resolve().parents[1] / "models"
    installed = Path(sysconfig.get_path("data")) / "share" / "negvol-pacs" / "models"
    for folder in (beside, installed):
        if (folder / BUNDLES[0] / _WEIGHTS).is_file():
            return folder
    raise WeightsError(f"No model bundles in {beside} or {installed}; set pipeline.models or run negvol train.")


def resolve_device(options: Pipeline) -> torch.device:
    """Choose the device: CUDA when there is one and the configuration does not forbid it.

    Raises
    ------
    WeightsError
        If the configuration demands a CUDA device that is not there.
    """
    if options.device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    device = torch.device(options.device)
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise WeightsError(f"pipeline.device is {options.device}, but this machine has no such CUDA device.")
    return device


def load_networks(models: Path | None = None, device: str | torch.device = "cpu") -> Networks:
    """Load all bundles.

    Parameters
    ----------
    models
        Folder of the bundles; None for those that came with the package.
    device
        Where to put them.

    Raises
    ------
    WeightsError
        If a bundle is missing, damaged, or does not fit this version; the message says which and why.
    """
    folder = models_folder() if models is None else models
    target = torch.device(device)
    digest = hashlib.sha256()
    bundles = {}
    for name in BUNDLES:
        bundles[name] = _load_bundle(folder / name, target)
        for part in (_INFERENCE, _WEIGHTS):
            digest.update(hashlib.sha256((folder / name / part).read_bytes()).digest())
    version = "+".join(dict.fromkeys(bundle.version for bundle in bundles.values()))
    return Networks(**bundles, device=target, sha256=digest.hexdigest(), version=version)


def _load_bundle(folder: Path, device: torch.device) -> Bundle:
    inference, metadata = _read_json(folder / _INFERENCE), _read_json(folder / _METADATA)
    try:
        arguments = dict(inference["network_def"])
        name = str(arguments.pop("_target_")).removeprefix(_TARGET)
        depth, height, width = (int(count) for count in inference["window"])
        spacing, version = float(inference["spacing_mm"]), str(metadata["version"])
    except (KeyError, TypeError, ValueError) as error:
        raise WeightsError(f"{folder}: incomplete bundle: {error!r}.") from error
    module = build_network(name, **arguments)
    try:
        module.load_state_dict(load_file(folder / _WEIGHTS))
    except (OSError, SafetensorError, RuntimeError) as error:
        raise WeightsError(f"{folder / _WEIGHTS}: {error}") from error
    return Bundle(module.eval().requires_grad_(False).to(device), spacing, (depth, height, width), version)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise WeightsError(f"{path}: {error}") from error
    if not isinstance(content, dict):
        raise WeightsError(f"{path}: not a JSON object.")
    return content


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
    name = type(module).__name__
    inference = {
        "network_def": {"_target_": _TARGET + name, **arguments},
        "spacing_mm": spacing_mm,
        "window": list(window),
    }
    metadata = {
        "schema": "https://github.com/Project-MONAI/MONAI-extra-test-data/releases/download/0.8.1/"
        "meta_schema_20240725.json",
        "version": version,
        "changelog": {version: description},
        "monai_version": monai.__version__.split("+")[0],
        "pytorch_version": torch.__version__.split("+")[0],
        "numpy_version": np.__version__,
        "required_packages_version": {"safetensors": safetensors.__version__},
        "name": f"negvol-pacs {folder.name}",
        "task": "Segmentation of the temporomandibular joint in CT",
        "description": description,
        "intended_use": "Research use only; trained on synthetic heads.",
    }
    weights = {key: value.detach().cpu().contiguous() for key, value in module.state_dict().items()}
    for path in (_INFERENCE, _WEIGHTS, Path("docs/README.md")):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
    # Not save_file: it hides the file from the group, whatever the umask.
    (folder / _WEIGHTS).write_bytes(save(weights))
    (folder / _INFERENCE).write_text(json.dumps(inference, indent=2) + "\n", encoding="utf-8")
    (folder / _METADATA).write_text(json.dumps(metadata, indent=2) + "\n", encoding="utf-8")
    (folder / "docs/README.md").write_text(card, encoding="utf-8")
