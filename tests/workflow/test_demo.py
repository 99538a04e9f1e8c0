"""The demo from the command line, with the stand-in for networks and measurement."""

import os
import shutil
import subprocess
import sys

import pytest
from node_process import STAND_IN
from pydicom import dcmread

ALONE = ["unshare", "--net", *([] if os.geteuid() == 0 else ["--map-root-user"]), "--"]


def demo(folder, out, tmp_path, *prefix, **more):
    command = [*prefix, sys.executable, str(STAND_IN), "demo", "--dicom", str(folder), "--out", str(out)]
    environment = os.environ | {"STAND_IN_LOG": str(tmp_path / "log.txt"), "COLUMNS": "200", "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, capture_output=True, text=True, env=environment | more, timeout=250, check=False)


def can_be_alone():
    if not shutil.which("Orthanc") or not shutil.which("unshare"):
        return False
    return subprocess.run([*ALONE, "true"], capture_output=True, check=False).returncode == 0


@pytest.mark.slow
def test_results_come_back_and_nothing_is_left_but_them(make_ct, tmp_path):
    out = tmp_path / "out"
    done = demo(make_ct(), out, tmp_path)
    assert done.returncode == 0, done.stderr
    assert {path.name for path in out.iterdir()} == {"SEG.dcm", "SR.dcm", "joints.png", "node.log"}
    study = {str(dcmread(out / name).StudyInstanceUID) for name in ("SEG.dcm", "SR.dcm")}
    assert study == {str(dcmread(next(tmp_path.glob("ct/*"))).StudyInstanceUID)}
    for word in ("Fossa width", "Right", "Left", "mm", "Computation failed", "joints.png"):
        assert word in done.stdout
    assert not processes_with(str(out))


@pytest.mark.slow
@pytest.mark.system
@pytest.mark.skipif(not can_be_alone(), reason="no Orthanc, or no permission for a network namespace")
def test_orthanc_alone_with_loopback_is_the_pacs(make_ct, tmp_path):
    out = tmp_path / "out"
    done = demo(make_ct(), out, tmp_path, *ALONE, NEGVOL_DEMO_ALONE="1")
    assert done.returncode == 0, done.stderr
    assert "Orthanc" in done.stdout
    assert {dcmread(out / name).Modality for name in ("SEG.dcm", "SR.dcm")} == {"SEG", "SR"}


@pytest.mark.slow
def test_a_refused_series_has_its_reason_and_exit_code(make_ct, tmp_path):
    done = demo(make_ct(spacing=3.0), tmp_path / "out", tmp_path)
    assert done.returncode == 3, done.stderr
    assert "spacing-too-coarse" in done.stdout


def test_a_folder_without_images_is_said_so(tmp_path):
    (tmp_path / "empty").mkdir()
    done = demo(tmp_path / "empty", tmp_path / "out", tmp_path)
    assert done.returncode == 3
    assert "no DICOM image" in done.stderr
    assert "Traceback" not in done.stderr


def processes_with(word):
    """Command lines of live processes that name the word."""
    return subprocess.run(["pgrep", "-f", word], capture_output=True, text=True, check=False).stdout
