"""The demo from the command line, with the stand-in for networks and measurement."""

import os
import subprocess
import sys

import pytest
from node_process import STAND_IN
from pydicom import dcmread


def demo(folder, out, tmp_path):
    command = [sys.executable, str(STAND_IN), "demo", "--dicom", str(folder), "--out", str(out)]
    environment = os.environ | {"STAND_IN_LOG": str(tmp_path / "log.txt"), "COLUMNS": "200", "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120, check=False)


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
