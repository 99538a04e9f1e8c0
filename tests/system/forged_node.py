"""A node whose processes are forked, may be killed at points, and are started again when they end."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

ROLES = ("receiver", "worker")


class Forge:
    """Starts processes: see forge.py."""

    def __init__(self) -> None:
        environment = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        command = [sys.executable, str(Path(__file__).with_name("forge.py"))]
        self._server = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )
        assert self._server.stdout is not None and self._server.stdout.readline() == "ready\n"

    def ask(self, **request: object) -> int | None:
        assert self._server.stdin is not None and self._server.stdout is not None
        self._server.stdin.write(json.dumps(request) + "\n")
        self._server.stdin.flush()
        return json.loads(self._server.stdout.readline())

    def close(self) -> None:
        """End it, and every process with it."""
        assert self._server.stdin is not None and self._server.stdout is not None
        self._server.stdin.close()
        self._server.wait(60)
        self._server.stdout.close()


class ForgedNode:
    """A receiver and a worker, started again by `revive` as a service manager would.

    Parameters
    ----------
    forge
        Starts them.
    folder
        For log, trace and configuration.
    settings
        The configuration, TOML.
    deeds
        What befalls the processes at which point, each once: see forge.py.
    environment
        Of the processes, beside that of the forge.
    """

    def __init__(
        self,
        forge: Forge,
        folder: Path,
        settings: str,
        deeds: Mapping[str, str] | None = None,
        **environment: str,
    ) -> None:
        self._forge, self._folder, self._deeds = forge, folder, dict(deeds or {})
        self._environment = {"STAND_IN_LOG": str(folder / "segmented.txt")} | environment
        self.trace, self.config, self.log = folder / "trace.txt", folder / "config.toml", folder / "node.log"
        self.config.write_text(settings, encoding="utf-8")
        self.exits: list[int] = []
        """Exit statuses of all processes that have ended, in turn; negative: the signal."""
        self.pids: dict[str, int] = {}
        for role in ROLES:
            self._start(role)

    def _start(self, role: str) -> None:
        other = self._pid_file(ROLES[1 - ROLES.index(role)])
        pid = self._forge.ask(
            start={
                "role": role, "config": str(self.config), "log": str(self.log), "trace": str(self.trace),
                "deeds": self._deeds, "other": str(other), "environment": self._environment,
            }
        )  # fmt: skip
        assert pid is not None
        self.pids[role] = pid
        self._pid_file(role).write_text(str(pid))

    def _pid_file(self, role: str) -> Path:
        return self._folder / f"{role}.pid"

    def revive(self) -> None:
        """Start again what has ended; what befell it does so once."""
        for role, pid in list(self.pids.items()):
            status = self._forge.ask(ended=pid)
            if status is not None:
                self.exits.append(status)
                passed = set(self.names())
                self._deeds = {name: deed for name, deed in self._deeds.items() if name not in passed}
                self._start(role)

    def names(self) -> list[str]:
        """Points that were passed, in their order."""
        return self.trace.read_text().splitlines() if self.trace.exists() else []

    def logged(self, event: str) -> int:
        """How often the log tells of an event."""
        return self.log.read_text().count(f'"event": "{event}"') if self.log.exists() else 0

    def close(self) -> None:
        """Kill both."""
        for pid in self.pids.values():
            os.kill(pid, signal.SIGKILL)
            while self._forge.ask(ended=pid) is None:
                time.sleep(0.01)
