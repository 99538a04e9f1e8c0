"""Whether the node does its work, and what a person should look at."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from negvol_pacs.config import Config
from negvol_pacs.storage.lifesigns import Process


@dataclass(frozen=True)
class Disk:
    """Space for the state folder, in bytes, with the watermarks of the configuration."""

    free: int
    total: int
    low: int
    """Below this, confirmed studies are deleted (``retention.low_free_bytes``)."""
    least: int
    """Below this, nothing is received (``limits.min_free_bytes``)."""


@dataclass(frozen=True)
class Health:
    """What a monitor asks for."""

    healthy: bool
    reasons: tuple[str, ...]
    """Why it is not."""
    warnings: tuple[str, ...]
    """What goes on, but not for long or not for all."""


def measure_disk(config: Config) -> Disk:
    """Look how much space there is; for a state folder that is not there yet, where it would be."""
    folder: Path = config.node.state.absolute()
    while not folder.exists():
        folder = folder.parent
    usage = shutil.disk_usage(folder)
    return Disk(usage.free, usage.total, config.retention.low_free_bytes, config.limits.min_free_bytes)


def judge(processes: Sequence[Process], disk: Disk, now: float, needing_person: int | None) -> Health:
    """Say whether studies are received and measured.

    Parameters
    ----------
    processes
        That there are.
    disk
        Space on it.
    now
        Seconds since the epoch.
    needing_person
        Number of studies that need a person; None where the ledger cannot be read.
    """
    reasons = ["the ledger cannot be read"] if needing_person is None else []  # why is in the log: it may name files
    warnings: list[str] = []
    for kind in ("receiver", "worker"):
        own = [process for process in processes if process.kind == kind]
        silent = [_silence(process, now) for process in own if process.is_silent(now)]
        if len(silent) < len(own):
            warnings += silent
        else:
            reasons += silent or [f"no {kind} is running"]
    if disk.free < disk.least:
        reasons.append("the disk is full: nothing is received")
    elif disk.free < disk.low:
        warnings.append("the disk is low")
    if needing_person:
        warnings.append("1 study needs a person" if needing_person == 1 else f"{needing_person} studies need a person")
    return Health(not reasons, tuple(reasons), tuple(warnings))


def _silence(process: Process, now: float) -> str:
    name = f"{process.kind} {process.name}".strip()
    return f"{name} has been silent for {max(0.0, now - process.seen_at):.0f} s"
