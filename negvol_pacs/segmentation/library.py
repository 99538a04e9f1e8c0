"""The folder of bundles: what is in it, whether it is sound, and how another bundle gets in."""

import json
import shutil
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from negvol_pacs.errors import WeightsError
from negvol_pacs.segmentation.bundle import CARD, INFERENCE, METADATA, read_json
from negvol_pacs.segmentation.shipped import BUNDLES, WEIGHTS, models_folder
from negvol_pacs.segmentation.weights import load_bundle

LARGEST_BYTES = 64 << 20
"""Of one file of a bundle."""
_PARTS = (INFERENCE, METADATA, WEIGHTS, CARD)


@dataclass(frozen=True)
class Entry:
    """One bundle of a folder.

    Attributes
    ----------
    name
        ``localizer`` or ``bones``.
    version, description, sha256
        As its metadata says; the hash is that of the weights.
    network
        Class of the network.
    parameters
        Number of its weights; 0 where it cannot be loaded.
    spacing_mm
        Of its grid.
    error
        Why it is refused; empty when it is sound.
    """

    name: str
    version: str = ""
    description: str = ""
    sha256: str = ""
    network: str = ""
    parameters: int = 0
    spacing_mm: float = 0.0
    error: str = ""


def entries(models: Path | None = None) -> list[Entry]:
    """Load and check every bundle that the pipeline needs.

    Parameters
    ----------
    models
        Folder of the bundles; None for those that came with the package.

    Raises
    ------
    WeightsError
        If no folder is given and none came with the package. What is wrong with one bundle is its ``error``.
    """
    folder = models_folder() if models is None else models
    return [_entry(folder / name) for name in BUNDLES]


def _entry(folder: Path) -> Entry:
    try:
        bundle = load_bundle(folder)
    except WeightsError as error:
        return Entry(folder.name, error=str(error))
    metadata = read_json(folder / METADATA)
    return Entry(
        folder.name,
        bundle.version,
        str(metadata.get("description", "")),
        str(metadata["sha256"][WEIGHTS]),
        type(bundle.module).__name__,
        sum(parameter.numel() for parameter in bundle.module.parameters()),
        bundle.spacing_mm,
    )


def install(file: Path, models: Path) -> Entry:
    """Put a bundle from a zip file into a folder of bundles, in place of the one of that name.

    Parameters
    ----------
    file
        Holds the bundle's folder, as MONAI packs it; what a bundle of ours has not is left out.
    models
        Folder of the bundles. One without any gets those that came with the package first, so
        that it can be used at once. The replaced bundle stays beside as ``NAME.former``.

    Returns
    -------
    Entry
        What was installed.

    Raises
    ------
    WeightsError
        If the file is no bundle, or one whose weights are wrong or altered; nothing is changed then.
    """
    try:
        models.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".incoming-", dir=models) as temporary:
            folder = _unpacked(file, Path(temporary))
            entry = _entry(folder)
            if entry.error:
                raise WeightsError(f"{file.name} is not installed. {entry.error}")
            _complete(models)
            former = models / f"{entry.name}.former"
            if (models / entry.name).exists():
                shutil.rmtree(former, ignore_errors=True)
                (models / entry.name).rename(former)
            folder.rename(models / entry.name)
    except OSError as error:
        raise WeightsError(f"{models}: {error.strerror or error}.") from error
    return entry


def _unpacked(file: Path, target: Path) -> Path:
    """Write the parts of a bundle below the target, whatever else the file holds."""
    try:
        with zipfile.ZipFile(file) as archive:
            found = {PurePosixPath(item.filename): item for item in archive.infolist()}
            roots = [path.parents[1] for path in found if str(path).endswith(f"/{METADATA}") or str(path) == METADATA]
            if len(roots) != 1:
                raise WeightsError(f"{file.name} holds no bundle, or several.")
            members = {part: found.get(roots[0] / part) for part in _PARTS}
            absent = [part for part, item in members.items() if item is None]
            if absent:
                raise WeightsError(f"{file.name} lacks {', '.join(absent)}.")
            contents = {}
            for part, item in members.items():
                if item is None or item.file_size > LARGEST_BYTES:
                    raise WeightsError(f"{part} in {file.name} is larger than {LARGEST_BYTES >> 20} MiB.")
                contents[part] = archive.read(item)
    except (OSError, zipfile.BadZipFile, NotImplementedError, RuntimeError) as error:
        raise WeightsError(f"{file.name} cannot be unpacked: {error}.") from error
    folder = target / _name(contents[METADATA], file)
    for part, content in contents.items():
        (folder / part).parent.mkdir(parents=True, exist_ok=True)
        (folder / part).write_bytes(content)
    return folder


def _name(metadata: bytes, file: Path) -> str:
    """Which of the pipeline's networks it is, by its metadata and not by what a folder is called."""
    try:
        said = str(json.loads(metadata)["name"]).removeprefix("negvol-pacs ")
    except (ValueError, KeyError, TypeError) as error:
        raise WeightsError(f"{file.name}: the metadata cannot be read.") from error
    if said not in BUNDLES:
        raise WeightsError(f"{file.name} is for {said!r}; the pipeline has {' and '.join(BUNDLES)}.")
    return said


def _complete(models: Path) -> None:
    if any((models / name).exists() for name in BUNDLES):
        return
    for name in BUNDLES:
        shutil.copytree(models_folder() / name, models / name)
