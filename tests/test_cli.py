"""The command line as a user sees it: sentences and exit codes."""

import socket
import subprocess
import sys

import pytest
from pydicom import dcmread

GOOD = """
[[peers]]
ae_title = "PACS"
networks = ["10.0.0.0/8"]
[[destinations]]
name = "archive"
ae_title = "PACS"
host = "127.0.0.1"
port = {port}
"""


def negvol(*arguments, cwd=None):
    command = [sys.executable, "-m", "negvol_pacs", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, timeout=100, check=False)


@pytest.fixture
def config_file(tmp_path):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    path = tmp_path / "config.toml"
    path.write_text(GOOD.format(port=port))
    return path


def test_check_config_accepts_a_good_file(config_file):
    done = negvol("check-config", config_file)
    assert (done.returncode, done.stderr) == (0, "")
    assert "OK" in done.stdout


def test_check_config_names_every_unknown_key_and_bad_value(config_file):
    config_file.write_text(config_file.read_text() + "[node]\nport = 0\ncolour = 1\n[serie]\nx = 1\n")
    done = negvol("check-config", config_file)
    assert done.returncode == 1
    for word in ("node.port", "node.colour", "serie"):
        assert word in done.stderr
    assert "Traceback" not in done.stderr


def test_the_shipped_configuration_is_good_and_says_what_is_missing(request):
    done = negvol("check-config", request.config.rootpath / "config.toml")
    assert done.returncode == 0
    assert "no peers" in done.stdout
    assert "no destinations" in done.stdout


def test_echo_says_which_destination_does_not_answer(config_file):
    done = negvol("echo", "--config", config_file)
    assert done.returncode == 4
    assert "archive cannot be reached" in done.stderr


def test_echo_knows_only_the_destinations_of_the_configuration(config_file):
    done = negvol("echo", "other", "--config", config_file)
    assert done.returncode == 1
    assert "archive" in done.stderr


def test_process_refuses_a_folder_without_images(tmp_path):
    (tmp_path / "notes.txt").write_text("not DICOM")
    done = negvol("process", tmp_path, "--out", tmp_path / "out")
    assert done.returncode == 3
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()


def test_queue_without_a_node_says_so(config_file, tmp_path):
    config_file.write_text(config_file.read_text() + f'[node]\nstate = "{tmp_path / "state"}"\n')
    done = negvol("queue", "list", "--config", config_file)
    assert done.returncode == 1
    assert "there is no ledger" in done.stderr


def test_wrong_usage_is_two():
    assert negvol("queue", "show").returncode == 2
    assert negvol("serve", "--only", "cook").returncode == 2


def test_phantom_writes_a_series_and_refuses_what_it_does_not_know(tmp_path):
    size = ("--spacing", 2, "--slices", 1.5, "--extent", 60, 80, 80)
    done = negvol("phantom", tmp_path / "ct", *size, "--rotate", 5, 0, -3, "--flip", 0)
    assert done.returncode == 0, done.stderr
    files = list((tmp_path / "ct").iterdir())
    assert f"{len(files)} files" in done.stdout
    assert dcmread(files[0]).Modality == "CT"
    wrong = negvol("phantom", tmp_path / "no", "--transfer-syntax", "CTImageStorage")
    assert wrong.returncode == 2
    assert not (tmp_path / "no").exists()
