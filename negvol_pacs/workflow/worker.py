"""The worker process: loads the networks once and runs the workflows."""

import os
import shutil
import threading
import time
from pathlib import Path

import structlog
import torch

from negvol_pacs.config import Config, Pipeline
from negvol_pacs.network.audit.trail import recording
from negvol_pacs.segmentation.weights import Networks, load_networks, resolve_device, weights_hashes
from negvol_pacs.storage.lifesigns import LifeSign
from negvol_pacs.workflow import layout, process
from negvol_pacs.workflow.engine import Engine, migrate
from negvol_pacs.workflow.process import Exit
from negvol_pacs.workflow.pulse import Pulse
from negvol_pacs.workflow.reload import read_again
from negvol_pacs.workflow.service import Service
from negvol_pacs.workflow.steps import Steps

_HOUSEKEEPING_S = 5.0
_TURN_S = 0.5

_log = structlog.get_logger()


def run(config: Config, config_file: Path) -> None:
    """Work until SIGTERM or SIGINT, then finish what is running; read ``config_file`` again at SIGHUP.

    Whatever is not finished in ``node.drain_s`` is done again by the next worker, from its last step.

    Raises
    ------
    AlreadyRunning
        If another worker has the same executor id.
    DatabaseDamaged
        See :mod:`negvol_pacs.workflow.rebuild`.
    WeightsError
        If the networks cannot be loaded.
    """
    stop, reload, service, pulse = process.stop_event(), process.reload_event(), Service(), Pulse()
    state = config.node.state
    with process.exclusive(layout.lock(state, f"worker-{config.node.executor_id}")), recording(config):
        if not _wait_for_space(state, config.limits.min_free_bytes, stop, service):
            return
        layout.require_whole(state)
        migrate(state)
        ledger = layout.open_ledger(state)
        outbox = layout.open_outbox(state)
        outbox.sweep()
        networks = _load(config)
        steps = Steps(config, ledger, layout.open_inbox(config, ledger), outbox, networks, pulse=pulse)
        engine = Engine(state, config.node.executor_id, steps, _end_if_unusable, pulse)
        engine.start()
        sign = LifeSign(state, "worker", config.node.executor_id, **_equipment(config.pipeline, networks))
        _log.info("worker-ready", executor=config.node.executor_id)
        service.ready(_busy(pulse))
        housekeeping = 0.0
        while not stop.wait(_TURN_S):
            _end_if_hung(pulse, config.pipeline.patience_s)
            service.alive()
            sign.beat()
            service.status(_busy(pulse))
            if reload.is_set():
                reload.clear()
                config = read_again(config, config_file, service, steps.reload)
                service.ready(_busy(pulse))
            if time.monotonic() >= housekeeping:
                housekeeping = time.monotonic() + _HOUSEKEEPING_S
                _give_up_lost(engine, steps)
                engine.hasten(_HOUSEKEEPING_S + max(config.series.quiet_period_s, config.delivery.longest_retry_s))
        _log.info("worker-stopping")
        service.stopping(config.node.drain_s)
        engine.stop(config.node.drain_s)
        sign.end()
    os._exit(Exit.OK)  # a step that is still computing would hold the process up


def _give_up_lost(engine: Engine, steps: Steps) -> None:
    for lost in engine.lost():
        steps.give_up(lost)
        engine.forget(lost)


def _busy(pulse: Pulse) -> str:
    return f"{pulse.running} steps running" if pulse.running else "waiting for work"


def _end_if_hung(pulse: Pulse, patience_s: float) -> None:
    """End the process when a step no longer moves: a thread cannot be ended alone, and a fresh process repeats it."""
    if (silence_s := pulse.silence_s()) > patience_s:
        _log.critical("worker-hung", silent_s=round(silence_s), exit_code=int(Exit.UNUSABLE))
        os._exit(Exit.UNUSABLE)


def _load(config: Config) -> Networks:
    device = resolve_device(config.pipeline)
    networks = load_networks(config.pipeline.models, str(device))
    _log.info("worker-networks", device=str(device), version=networks.version, sha256=networks.sha256)
    return networks


def _equipment(options: Pipeline, networks: Networks) -> dict[str, str]:
    """Say what the worker measures with."""
    told = {"device": str(resolve_device(options)), "weights": networks.version, "sha256": networks.sha256}
    return told | {f"sha256 of {name}": value for name, value in weights_hashes(options.models).items()}


def _wait_for_space(state: Path, least: int, stop: threading.Event, service: Service) -> bool:
    """Wait until the disk has room: starting over and over would use up the attempts of the work."""
    state.mkdir(parents=True, exist_ok=True)
    while (free := shutil.disk_usage(state).free) < least:
        _log.error("worker-disk-full", free=free, needed=least)
        service.ready("waiting for space on the disk")
        service.alive()
        if stop.wait(_HOUSEKEEPING_S):
            return False
    return True


def _end_if_unusable(error: Exception) -> None:
    """End the process at an error that only a fresh one, or more space, can mend."""
    code = Exit.UNUSABLE if isinstance(error, torch.AcceleratorError) else process.ailment(error)
    if code is None:
        return
    _log.critical("worker-unusable", error=str(error), exit_code=int(code))
    os._exit(code)
