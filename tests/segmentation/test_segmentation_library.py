import json
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from negvol_pacs.cli import app
from negvol_pacs.errors import WeightsError
from negvol_pacs.segmentation.bundle import save_bundle
from negvol_pacs.segmentation.library import entries, install
from negvol_pacs.segmentation.networks import VNet
from negvol_pacs.segmentation.shipped import BUNDLES, models_folder
from negvol_pacs.segmentation.weights import load_networks

ARGUMENTS = {"channels": [2, 4], "convolutions": [1, 1]}
_VERSIONS = ("monai_version", "pytorch_version", "numpy_version", "required_packages_version")
_REQUIRED = ("schema", "version", *_VERSIONS, "task", "description", "authors", "copyright")
SCHEMA = {
    "type": "object",
    "required": [
        "schema",
        "version",
        "monai_version",
        "pytorch_version",
        "numpy_version",
        "required_packages_version",
        "task",
        "description",
        "authors",
        "copyright",
        "network_data_format",
    ],
    "properties": {
        "network_data_format": {
            "required": ["inputs", "outputs"],
            "additionalProperties": {
                "additionalProperties": {
                    "required": ["type", "format", "num_channels", "spatial_shape", "dtype", "value_range"]
                }
            },
        }
    },
}
"""What MONAI's bundle specification asks of a metadata.json."""


@pytest.fixture
def packed(tmp_path: Path) -> Path:
    """Zip file of a tiny bundle for the bones."""
    save_bundle(
        tmp_path / "made" / "bones",
        VNet(**ARGUMENTS),
        ARGUMENTS,
        spacing_mm=0.5,
        window=(16, 16, 16),
        version="0.2",
        description="Tiny.",
        card="# Tiny\n",
    )
    return Path(shutil.make_archive(str(tmp_path / "tiny"), "zip", tmp_path / "made"))


def test_a_bundle_is_installed_beside_the_shipped_ones(packed: Path, tmp_path: Path) -> None:
    models = tmp_path / "models"
    assert install(packed, models).version == "0.2"
    networks = load_networks(models)
    assert networks.bones.window == (16, 16, 16)
    assert networks.localizer.version == entries()[0].version
    install(packed, models)
    assert (models / "bones.former" / "models" / "model.safetensors").is_file()
    assert sorted(path.name for path in models.iterdir()) == ["bones", "bones.former", "localizer"]


def repacked(packed: Path, changes: dict[str, bytes | None]) -> Path:
    path = packed.with_name("changed.zip")
    with zipfile.ZipFile(packed) as old, zipfile.ZipFile(path, "w") as new:
        for item in old.infolist():
            if changes.get(item.filename, b"") is not None:
                new.writestr(item.filename, changes.get(item.filename) or old.read(item))
        for name in changes.keys() - set(old.namelist()):
            new.writestr(name, changes[name] or b"")
    return path


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"bones/models/model.safetensors": b"altered"}, "its hash differs"),
        ({"bones/configs/inference.json": b"{}"}, "incomplete"),
        ({"bones/models/model.safetensors": None}, "lacks models/model.safetensors"),
        ({"bones/configs/metadata.json": json.dumps({"name": "negvol-pacs ../x"}).encode()}, "is for '../x'"),
        ({"bones/configs/metadata.json": b"\xff"}, "cannot be read"),
        ({"bones/configs/metadata.json": None}, "holds no bundle"),
        ({"other/configs/metadata.json": b"{}"}, "or several"),
    ],
)
def test_what_is_wrong_or_altered_is_not_installed(
    packed: Path, tmp_path: Path, changes: dict[str, bytes | None], reason: str
) -> None:
    with pytest.raises(WeightsError, match=reason):
        install(repacked(packed, changes), tmp_path / "models")
    assert not [path for path in (tmp_path / "models").iterdir() if path.name in BUNDLES]


def test_a_file_that_is_no_zip_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file.zip").write_text("no")
    with pytest.raises(WeightsError, match="cannot be unpacked"):
        install(tmp_path / "file.zip", tmp_path / "models")


def test_parts_that_lead_out_of_the_folder_are_left_out(packed: Path, tmp_path: Path) -> None:
    install(repacked(packed, {"bones/../../escaped": b"x", "../escaped": b"x"}), tmp_path / "deep" / "models")
    assert not list(tmp_path.rglob("escaped"))


def test_the_command_line_lists_verifies_and_refuses(packed: Path, tmp_path: Path) -> None:
    runner, models = CliRunner(env={"COLUMNS": "200", "NEGVOL_CONFIG": str(tmp_path / "none.toml")}), tmp_path / "m"
    done = runner.invoke(app, ["models", "install", str(packed), "--models", str(models)])
    assert "bones 0.2 is installed" in done.output
    assert "VNet" in runner.invoke(app, ["models", "list", "--models", str(models)]).output
    done = runner.invoke(app, ["models", "verify", "--models", str(models)])
    assert (done.exit_code, done.output.count("sound")) == (0, 2)
    with (models / "bones/models/model.safetensors").open("ab") as file:
        file.write(b"\0")
    done = runner.invoke(app, ["models", "verify", "--models", str(models)])
    assert done.exit_code == 1
    assert "its hash differs" in done.output


@pytest.fixture
def gradients() -> Iterator[None]:
    yield
    torch.set_grad_enabled(True)


def crop(path: Path, edge: int) -> Path:
    """Soft tissue with a ball of bone, in HU."""
    z, y, x = np.mgrid[:edge, :edge, :edge] - (edge - 1) / 2
    image = np.where(z**2 + y**2 + x**2 < (edge / 4) ** 2, 1200, 40).astype(np.float32)
    nib.save(nib.Nifti1Image(image, np.diag([0.5, 0.5, 0.5, 1])), path)
    return path


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", BUNDLES)
def test_monai_s_own_tools_verify_and_run_the_shipped_bundles(
    name: str, tmp_path: Path, gradients: None, capfd: pytest.CaptureFixture[str]
) -> None:
    from monai.bundle import run, verify_metadata, verify_net_in_out

    configs = models_folder() / name / "configs"
    meta, inference = str(configs / "metadata.json"), str(configs / "inference.json")
    (tmp_path / "schema.json").write_text(json.dumps(SCHEMA))
    verify_metadata(meta_file=meta, filepath=tmp_path / "schema.json")
    verify_net_in_out("network_def", meta_file=meta, config_file=inference, n=2, any=16)
    run(
        meta_file=meta,
        config_file=inference,
        bundle_root=str(models_folder() / name),
        image=str(crop(tmp_path / "crop.nii.gz", 24)),
        output_dir=str(tmp_path),
        window=[32, 32, 32],
    )
    labels = nib.load(tmp_path / "crop_labels.nii.gz")
    assert set(np.unique(np.asarray(labels.dataobj))) <= {0, 1, 2}
    assert np.prod(labels.shape[:3]) > 0


@pytest.mark.slow
def test_a_bundle_runs_from_monai_s_command_line(packed: Path, tmp_path: Path) -> None:
    pytest.importorskip("fire")  # MONAI's command line needs it
    folder = packed.parent / "made" / "bones"
    command = [sys.executable, "-m", "monai.bundle", "run", "--bundle_root", str(folder)]
    command += ["--config_file", str(folder / "configs/inference.json")]
    command += ["--meta_file", str(folder / "configs/metadata.json")]
    command += ["--image", str(crop(tmp_path / "crop.nii.gz", 16)), "--output_dir", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "crop_labels.nii.gz").is_file()
