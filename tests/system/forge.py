"""Starts processes of a node by fork, with everything imported: a restart takes a tenth of a second.

Usage: ``python forge.py``, then on standard input one JSON object a line: ``{"start": {...}}`` answers
with a process id, ``{"ended": pid}`` with its exit status or null. The networks are those of
tests/workflow/stand_in.py. All processes end with this one.
"""

import ctypes
import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1] / "workflow")]

_true_time = time.time


def _shifted_time() -> float:
    """Time by a clock that is wrong by the seconds in the file that CLOCK names."""
    clock = os.environ.get("CLOCK")
    return _true_time() + float((Path(clock).read_text() if clock else "") or 0)


time.time = _shifted_time  # before anybody takes hold of it

import stand_in  # noqa: E402
from kill_points import Points, fill  # noqa: E402

from negvol_pacs.workflow import pipeline, receiver, steps  # noqa: E402, F401  # imported late by the commands

_PR_SET_PDEATHSIG = 1


def start(
    role: str, config: str, log: str, trace: str, deeds: dict[str, str], other: str, environment: dict[str, str]
) -> int:
    """Fork a receiver or worker.

    Deeds at points: ``alone``, the process is killed; ``both``, and the one whose id stands in the
    file ``other``; else a file of that name is written until the disk is full.
    """
    child = os.fork()
    if child:
        return child
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    null = os.open(os.devnull, os.O_RDWR)
    for end, file in ((0, null), (1, null), (2, os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT))):
        os.dup2(file, end)

    def do(deed: str) -> None:
        if deed not in ("alone", "both"):
            fill(Path(deed))
            return
        if deed == "both" and Path(other).exists():
            os.kill(int(Path(other).read_text()), signal.SIGKILL)
        os.kill(os.getpid(), signal.SIGKILL)

    os.environ.update(environment)
    try:
        Points(role, Path(trace), deeds, do).install()
        sys.argv = ["negvol", "serve", "--only", role, "--config", config]
        stand_in.main()
    except BaseException as error:  # noqa: BLE001
        print(repr(error), file=sys.stderr)
        os._exit(error.code if isinstance(error, SystemExit) and isinstance(error.code, int) else 1)
    os._exit(0)


def ended(pid: int) -> int | None:
    """Return the exit status of a process that has ended, else None."""
    found, status = os.waitpid(pid, os.WNOHANG)
    return os.waitstatus_to_exitcode(status) if found else None


def _draw_nothing(_volume: object, _findings: object, path: Path, _title: str) -> None:
    path.write_bytes(b"a picture")


def main() -> None:
    """Answer until standard input ends."""
    pipeline.draw_joints = _draw_nothing  # drawing would be half of the work of a run
    print("ready", flush=True)
    for line in sys.stdin:
        request: dict[str, Any] = json.loads(line)
        answer = start(**request["start"]) if "start" in request else ended(request["ended"])
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
