"""What a process tells the service manager: sd_notify(3), the part that the node needs, over a plain socket."""

import os
import socket
import threading
import time

import structlog

_log = structlog.get_logger()


class Service:
    """The service manager's end of this process; says nothing where there is none.

    Takes ``NOTIFY_SOCKET`` and ``WATCHDOG_USEC`` out of the environment, so that child processes
    do not speak in this one's name.
    """

    def __init__(self) -> None:
        address = os.environ.pop("NOTIFY_SOCKET", "")
        self._address = "\0" + address[1:] if address.startswith("@") else address
        patience_s = int(os.environ.pop("WATCHDOG_USEC", "0")) / 1e6
        mine = os.environ.pop("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        self._every_s = patience_s / 4 if mine and patience_s else None
        self._next = 0.0
        self._status = ""
        self._lock = threading.Lock()

    def ready(self, status: str) -> None:
        """Say that the process does its work, at the start and after a reload."""
        self._tell("READY=1", f"STATUS={status}")
        self._status = status

    def status(self, text: str) -> None:
        """Say what the process is doing, when that has changed; never a patient's name."""
        if text != self._status:
            self._status = text
            self._tell(f"STATUS={text}")

    def reloading(self) -> None:
        """Say that the configuration is read again; :meth:`ready` ends it."""
        self._tell("RELOADING=1", f"MONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")

    def stopping(self, drain_s: float) -> None:
        """Say that the process stops, and how long that may take."""
        self._tell("STOPPING=1", "STATUS=finishing what runs", f"EXTEND_TIMEOUT_USEC={int((drain_s + 15) * 1e6)}")

    def alive(self) -> None:
        """Feed the watchdog, and before `ready` ask for more time; to be called as often as the work turns."""
        if self._every_s is None:
            return
        with self._lock:
            now = time.monotonic()
            if now < self._next:
                return
            self._next = now + self._every_s
        self._tell("WATCHDOG=1", *([] if self._status else ["EXTEND_TIMEOUT_USEC=60000000"]))

    def _tell(self, *lines: str) -> None:
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as end:
                end.settimeout(5)
                end.sendto("\n".join(lines).encode(), self._address)
        except OSError as error:
            _log.error("service-manager-unreachable", reason=str(error))
