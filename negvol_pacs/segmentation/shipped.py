"""Where the bundles are that came with the package: told without loading a network library."""

import sysconfig
from pathlib import Path

import negvol_pacs
from negvol_pacs.errors import WeightsError

BUNDLES = ("localizer", "bones")
WEIGHTS = "models/model.safetensors"


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
        if (folder / BUNDLES[0] / WEIGHTS).is_file():
            return folder
    raise WeightsError(f"No model bundles in {beside} or {installed}; set pipeline.models or run negvol train.")
