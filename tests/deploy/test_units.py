"""The systemd units, judged by systemd itself."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

UNITS = Path(__file__).parents[2] / "deploy" / "systemd"
SERVICES = sorted(path.name for path in UNITS.glob("*.service"))
PROGRAM = "/opt/negvol-pacs/current/bin/negvol"
MOST_EXPOSURE = 1.5

pytestmark = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze (systemd)")


def analyze(*arguments):
    command = ["systemd-analyze", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_each_process_has_a_unit_of_the_target():
    assert SERVICES == ["negvol-pacs-receiver.service", "negvol-pacs-web.service", "negvol-pacs-worker@.service"]
    for name in SERVICES:
        lines = (UNITS / name).read_text().splitlines()
        assert "PartOf=negvol-pacs.target" in lines
        assert "WantedBy=negvol-pacs.target" in lines


def test_systemd_finds_nothing_wrong(tmp_path):
    for path in UNITS.glob("negvol-pacs*"):
        text = path.read_text().replace(PROGRAM, "/bin/true")  # it need not be installed here
        text = re.sub(r"Documentation=.*\n", "", text)
        (tmp_path / path.name.replace("@.", "@node-1.")).write_text(text)
    done = analyze("verify", "--recursive-errors=no", "--man=no", *sorted(tmp_path.iterdir()))
    assert done.returncode == 0, done.stderr
    assert not [line for line in done.stderr.splitlines() if "negvol" in line]


@pytest.mark.parametrize("name", SERVICES)
def test_exposure_is_low(name):
    done = analyze("security", "--offline=true", "--no-pager", f"--threshold={round(10 * MOST_EXPOSURE)}", UNITS / name)
    found = re.search(r"exposure level for .*: ([\d.]+)", done.stdout)
    assert found, done.stderr
    assert float(found[1]) <= MOST_EXPOSURE


def test_a_unit_without_hardening_would_fail(tmp_path):
    bare = tmp_path / "bare.service"
    bare.write_text("[Service]\nExecStart=/bin/true\n")
    done = analyze("security", "--offline=true", "--no-pager", f"--threshold={round(10 * MOST_EXPOSURE)}", bare)
    assert done.returncode != 0


@pytest.mark.parametrize("name", SERVICES)
def test_the_unit_speaks_sd_notify_and_reloads(name):
    lines = (UNITS / name).read_text().splitlines()
    assert "Type=notify" in lines
    assert any(line.startswith("WatchdogSec=") for line in lines)
    assert [line for line in lines if line.startswith("ExecReload=")] == [
        f"ExecReload={PROGRAM} check-config",
        "ExecReload=/bin/sh -c 'kill -HUP $$MAINPID'",
    ]
