"""The supervisor with real child processes."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from node_process import until

from negvol_pacs.workflow import process

CHILD = """
import os, pathlib, sys
from negvol_pacs.workflow import process
process.die_with_parent()
stop = process.stop_event()
with pathlib.Path(sys.argv[1]).open("a") as file:
    file.write(f"{os.getpid()}\\n")
stop.wait()
"""
SUPERVISOR = """
import sys
from negvol_pacs.workflow.supervise import supervise
child, folder = sys.argv[1:]
command = lambda name: [sys.executable, "-c", child, f"{folder}/{name}"]
sys.exit(supervise({"one": command("one"), "two": command("two")}))
"""


def pids(path):
    return [int(line) for line in path.read_text().split()] if path.exists() else []


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().split(") ")[1][0] != "Z"
    except FileNotFoundError:
        return False


@pytest.fixture
def supervisor(tmp_path):
    process = subprocess.Popen([sys.executable, "-c", SUPERVISOR, CHILD, str(tmp_path)])
    until(lambda: pids(tmp_path / "one") and pids(tmp_path / "two"))
    yield process
    process.kill()
    process.wait()


def test_a_killed_child_is_started_again_and_the_other_lives_on(supervisor, tmp_path):
    other = pids(tmp_path / "two")
    os.kill(pids(tmp_path / "one")[0], signal.SIGKILL)
    until(lambda: len(pids(tmp_path / "one")) == 2)
    assert pids(tmp_path / "two") == other
    assert alive(other[0])


def test_the_delay_grows_when_it_dies_again_and_again(supervisor, tmp_path):
    moments = []
    for count in (1, 2, 3):
        until(lambda count=count: len(pids(tmp_path / "one")) == count)
        moments.append(time.monotonic())
        os.kill(pids(tmp_path / "one")[-1], signal.SIGKILL)
    assert moments[2] - moments[1] > 1.5


def test_sigterm_stops_all(supervisor, tmp_path):
    children = [*pids(tmp_path / "one"), *pids(tmp_path / "two")]
    supervisor.send_signal(signal.SIGTERM)
    assert supervisor.wait(timeout=20) == 0
    assert not any(alive(pid) for pid in children)


WAITS = """
import os, signal, sys
from negvol_pacs.workflow import process
event = getattr(process, sys.argv[1])()
number = getattr(signal, sys.argv[2])
lock = event._cond
wait = lock.wait
def about_to_wait(timeout=None):  # with the event's lock held
    os.kill(os.getpid(), number)
    return wait(timeout)
lock.wait = about_to_wait
sys.exit(0 if event.wait(30) else 1)
"""


@pytest.mark.parametrize(("event", "number"), [("stop_event", "SIGTERM"), ("reload_event", "SIGHUP")])
def test_a_signal_is_heard_at_any_moment(event, number):
    """Also when it comes while the main thread, on its way to wait, holds the event's lock."""
    command = [sys.executable, "-c", WAITS, event, number]
    assert subprocess.run(command, timeout=20, check=False).returncode == 0


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child that its parent died")
def test_no_orphan_stays_when_the_supervisor_is_killed(supervisor, tmp_path):
    children = [*pids(tmp_path / "one"), *pids(tmp_path / "two")]
    supervisor.kill()
    until(lambda: not any(alive(pid) for pid in children), timeout_s=10)


def test_a_child_with_a_bad_configuration_ends_the_node(tmp_path):
    command = [sys.executable, "-m", "negvol_pacs", "serve", "--config", str(tmp_path / "none.toml")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 78
    assert "none.toml" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_child_that_finds_a_database_damaged_ends_the_node(tmp_path):
    child = CHILD.replace("stop.wait()", "sys.exit(65 if sys.argv[1].endswith('two') else stop.wait())")
    command = [sys.executable, "-c", SUPERVISOR, child, str(tmp_path)]
    assert subprocess.run(command, capture_output=True, timeout=60, check=False).returncode == 65
    assert len(pids(tmp_path / "two")) == 1


def test_a_second_node_on_the_same_state_says_so_and_ends(tmp_path):
    path = tmp_path / "config.toml"
    path.write_text(f'[node]\nstate = "{tmp_path}"\n')
    with process.exclusive(tmp_path / "node.lock"):
        command = [sys.executable, "-m", "negvol_pacs", "serve", "--config", str(path)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 75
    assert "another process holds" in done.stderr


def test_a_state_folder_that_cannot_be_made_is_one_sentence(tmp_path):
    (tmp_path / "file").touch()
    path = tmp_path / "config.toml"
    path.write_text(f'[node]\nstate = "{tmp_path / "file" / "state"}"\n')
    command = [sys.executable, "-m", "negvol_pacs", "serve", "--config", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "cannot be used" in done.stderr
    assert "Traceback" not in done.stderr
