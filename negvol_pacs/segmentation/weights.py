"""The networks' weights: MONAI bundles with safetensors, never pickles."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load
from torch import nn

from negvol_pacs.config import Pipeline
from negvol_pacs.errors import WeightsError
from negvol_pacs.segmentation.bundle import INFERENCE, METADATA, SEALED, digest, read_json
from negvol_pacs.segmentation.networks import build_network
from negvol_pacs.segmentation.shipped import BUNDLES, WEIGHTS, models_folder


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
        If a bundle is missing, damaged, altered, or does not fit this version; the message says which and why.
    """
    folder = models_folder() if models is None else models
    target = torch.device(device)
    total = hashlib.sha256()
    bundles = {}
    for name in BUNDLES:
        bundles[name] = load_bundle(folder / name, target)
        for part in SEALED:
            total.update(hashlib.sha256((folder / name / part).read_bytes()).digest())
    version = "+".join(dict.fromkeys(bundle.version for bundle in bundles.values()))
    return Networks(**bundles, device=target, sha256=total.hexdigest(), version=version)


def weights_hashes(models: Path | None = None) -> dict[str, str]:
    """Return the SHA-256 of each bundle's weights by its name, as its metadata says.

    Raises
    ------
    WeightsError
        If a bundle is missing.
    """
    folder = models_folder() if models is None else models
    return {name: str(read_json(folder / name / METADATA)["sha256"][WEIGHTS]) for name in BUNDLES}


def load_bundle(folder: Path, device: str | torch.device = "cpu") -> Bundle:
    """Load one bundle, once its files are found to be those that were sealed.

    Raises
    ------
    WeightsError
        If it is missing, damaged, altered, or does not fit this version.
    """
    inference, metadata = read_json(folder / INFERENCE), read_json(folder / METADATA)
    try:
        arguments = dict(inference["network_def"])
        name = str(arguments.pop("_target_"))
        depth, height, width = (int(count) for count in inference["window"])
        spacing, version = float(inference["spacing_mm"]), str(metadata["version"])
    except (KeyError, TypeError, ValueError) as error:
        raise WeightsError(f"{folder}: incomplete bundle: {error!r}.") from error
    content = _unaltered(folder, metadata)
    module = build_network(name, **arguments)
    try:
        module.load_state_dict(load(content))
    except (SafetensorError, RuntimeError) as error:
        raise WeightsError(f"{folder / WEIGHTS}: {error}") from error
    return Bundle(module.eval().requires_grad_(False).to(device), spacing, (depth, height, width), version)


def _unaltered(folder: Path, metadata: dict[str, Any]) -> bytes:
    """Bytes of the weights, when every sealed file has the hash in the metadata."""
    seals, content = metadata.get("sha256"), b""
    if not isinstance(seals, dict):
        raise WeightsError(f"{folder / METADATA} holds no hashes of the bundle's files.")
    for part in SEALED:
        try:
            content = (folder / part).read_bytes()
        except OSError as error:
            raise WeightsError(f"{folder / part}: {error.strerror}.") from error
        if seals.get(part) != digest(content):
            raise WeightsError(f"{folder / part} is not the file that the bundle was made with: its hash differs.")
    return content
