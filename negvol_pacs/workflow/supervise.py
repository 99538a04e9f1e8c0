"""``negvol serve`` on one machine: keeps the receiver and the worker alive, each in its own process."""

import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import structlog

from negvol_pacs.workflow import process
from negvol_pacs.workflow.process import Exit

_SHORTEST_S, _LONGEST_S = 1.0, 60.0
_FINAL = (Exit.CONFIG, Exit.DAMAGED)
"""To start again would mend neither."""
_HEALTHY_S = 60.0
"""A process that lived so long has earned a quick restart."""

_log = structlog.get_logger()


@dataclass
class _Child:
    name: str
    command: Sequence[str]
    running: "subprocess.Popen[bytes] | None" = None
    started: float = 0.0
    delay_s: float = _SHORTEST_S
    start_at: float = 0.0

    def start(self) -> None:
        self.running = subprocess.Popen(self.command, env=process.environment(), stdin=subprocess.DEVNULL)
        self.started = time.monotonic()
        _log.info("process-started", name=self.name, pid=self.running.pid)

    def ended(self) -> int | None:
        """Exit status, once, when the process has just ended; plans the restart."""
        if self.running is None or (status := self.running.poll()) is None:
            return None
        now = time.monotonic()
        healthy = now - self.started > _HEALTHY_S
        self.delay_s = _SHORTEST_S if healthy else self.delay_s
        self.running, self.start_at = None, now + self.delay_s
        _log.error("process-ended", name=self.name, status=status, restart_in_s=self.delay_s)
        self.delay_s = min(2 * self.delay_s, _LONGEST_S)
        return status


def supervise(commands: Mapping[str, Sequence[str]], grace_s: float = 60.0) -> int:
    """Run the processes until SIGTERM or SIGINT; start again, with growing delay, each one that ends.

    SIGHUP is passed on to them.

    Parameters
    ----------
    commands
        Command line of each process, by name.
    grace_s
        How long they may drain when the node stops, before SIGKILL.

    Returns
    -------
    int
        Exit code: 0 after a signal; that of a child that finds its configuration wrong or a database damaged.
    """
    stop, reload = process.stop_event(), process.reload_event()
    children = [_Child(name, command) for name, command in commands.items()]
    code = Exit.OK
    while not stop.is_set():
        for child in children:
            if (status := child.ended()) in _FINAL:
                code = Exit(status)
                stop.set()
            if child.running is None and not stop.is_set() and time.monotonic() >= child.start_at:
                child.start()
        if reload.is_set():
            reload.clear()
            _signal(children, signal.SIGHUP)
        stop.wait(0.25)
    _log.info("node-stopping")
    _drain(children, grace_s)
    return code


def _signal(children: Sequence[_Child], number: signal.Signals) -> None:
    for child in children:
        if child.running is not None:
            child.running.send_signal(number)


def _drain(children: Sequence[_Child], grace_s: float) -> None:
    running = [child.running for child in children if child.running is not None]
    _signal(children, signal.SIGTERM)
    deadline = time.monotonic() + grace_s
    for child in running:
        try:
            child.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


def negvol(*arguments: str) -> list[str]:
    """Command line that runs ``negvol`` with this interpreter."""
    return [sys.executable, "-m", "negvol_pacs", *arguments]
