"""The worker process: loads the networks once and runs the workflows."""

import os
import shutil
import sqlite3
import threading
from errno import ENOSPC
from pathlib import Path

import structlog
import torch

from negvol_pacs.config import Config
from negvol_pacs.errors import DiskFull
from negvol_pacs.segmentation.weights import Networks, load_networks, resolve_device
from negvol_pacs.workflow import layout, process
from negvol_pacs.workflow.engine import Engine, migrate
from negvol_pacs.workflow.process import Exit
from negvol_pacs.workflow.steps import Steps

_HOUSEKEEPING_S = 5.0
_DRAIN_S = 30.0

_log = structlog.get_logger()


def run(config: Config) -> None:
    """Work until SIGTERM or SIGINT; then finish what is running, within half a minute.

    Whatever is not finished by then is done again by the next worker, from its last step.

    Raises
    ------
    AlreadyRunning
        If another worker has the same executor id.
    WeightsError
        If the networks cannot be loaded.
    """
    stop = process.stop_event()
    state = config.node.state
    with process.exclusive(layout.lock(state, f"worker-{config.node.executor_id}")):
        if not _wait_for_space(state, config.limits.min_free_bytes, stop):
            return
        migrate(state)
        ledger = layout.open_ledger(state)
        outbox = layout.open_outbox(state)
        outbox.sweep()
        steps = Steps(config, ledger, layout.open_inbox(config, ledger), outbox, _load(config))
        engine = Engine(state, config.node.executor_id, steps, _end_if_unusable)
        engine.start()
        _log.info("worker-ready", executor=config.node.executor_id)
        while not stop.wait(_HOUSEKEEPING_S):
            for lost in engine.lost():
                steps.give_up(lost)
                engine.forget(lost)
        _log.info("worker-stopping")
        engine.stop(_DRAIN_S)
    os._exit(Exit.OK)  # a step that is still computing would hold the process up


def _load(config: Config) -> Networks:
    device = resolve_device(config.pipeline)
    networks = load_networks(config.pipeline.models, str(device))
    _log.info("worker-networks", device=str(device), version=networks.version, sha256=networks.sha256)
    return networks


def _wait_for_space(state: Path, least: int, stop: threading.Event) -> bool:
    """Wait until the disk has room: starting over and over would use up the attempts of the work."""
    state.mkdir(parents=True, exist_ok=True)
    while (free := shutil.disk_usage(state).free) < least:
        _log.error("worker-disk-full", free=free, needed=least)
        if stop.wait(_HOUSEKEEPING_S):
            return False
    return True


def _end_if_unusable(error: Exception) -> None:
    """End the process at an error that only a fresh one, or more space, can mend."""
    if _is_disk_full(error):
        code = Exit.DISK_FULL
    elif isinstance(error, torch.AcceleratorError):
        code = Exit.UNUSABLE
    else:
        return
    _log.critical("worker-unusable", error=str(error), exit_code=int(code))
    os._exit(code)


def _is_disk_full(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, DiskFull) or (isinstance(error, OSError) and error.errno == ENOSPC):
            return True
        if isinstance(error, sqlite3.OperationalError) and "disk is full" in str(error):
            return True
        error = error.__cause__ or error.__context__
    return False
