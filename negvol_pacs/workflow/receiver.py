"""The receiver process: stores what peers send and tells the workflow which study it was for."""

import time
from contextlib import closing
from pathlib import Path

import structlog

from negvol_pacs.config import Config
from negvol_pacs.errors import NetworkError
from negvol_pacs.network.audit.trail import deleted, recording
from negvol_pacs.network.listener import Listener
from negvol_pacs.storage.lifesigns import LifeSign
from negvol_pacs.storage.records import State
from negvol_pacs.storage.retention import Retention
from negvol_pacs.workflow import layout, process
from negvol_pacs.workflow.engine import Jobs, migrate
from negvol_pacs.workflow.notifier import Notifier
from negvol_pacs.workflow.reload import read_again
from negvol_pacs.workflow.service import Service

_TURN_S = 0.5
_HOUSEKEEPING_S = 5.0

_log = structlog.get_logger()


def run(config: Config, config_file: Path) -> None:
    """Receive until SIGTERM or SIGINT, then let open associations finish; read ``config_file`` again at SIGHUP.

    Raises
    ------
    AlreadyRunning
        If another receiver uses the same state folder.
    DatabaseDamaged
        See :mod:`negvol_pacs.workflow.rebuild`.
    NetworkError
        If the address cannot be listened to.
    """
    stop, reload, service = process.stop_event(), process.reload_event(), Service()
    state = config.node.state
    with process.exclusive(layout.lock(state, "receiver")), recording(config):
        layout.require_whole(state)
        migrate(state)
        with closing(layout.open_ledger(state)) as ledger, closing(Jobs(state)) as jobs:
            inbox = layout.open_inbox(config, ledger)
            with closing(Notifier(jobs, config.series.quiet_period_s, ledger.performed.is_whole)) as notifier:
                listener = Listener(
                    config,
                    inbox,
                    lambda arrival: notifier.alive(arrival.study_uid),
                    lambda end: notifier.alive(*end.studies),
                    service.alive,
                    on_completed=notifier.alive,
                )
                _listen(listener, config)
                # What a former life could not pass on; dispatching a study twice changes nothing.
                for generation in ledger.generations(states=[State.RECEIVING, State.COMPLETE]):
                    notifier.alive(generation.study_uid)
                sign = LifeSign(state, "receiver")
                _log.info("receiver-ready")
                service.ready(_listening(config))
                retention, housekeeping = Retention(inbox, layout.open_outbox(state), config, deleted), 0.0
                while not stop.wait(_TURN_S):
                    sign.beat()
                    if reload.is_set():
                        reload.clear()
                        config = read_again(config, config_file, service, listener.reload)
                        retention.reload(config)
                        service.ready(_listening(config))
                    if time.monotonic() >= housekeeping and not retention.turn():
                        housekeeping = time.monotonic() + _HOUSEKEEPING_S
                _log.info("receiver-stopping")
                service.stopping(config.node.drain_s)
                listener.stop(config.node.drain_s)
                sign.end()


def _listening(config: Config) -> str:
    return f"listening on {config.node.host} port {config.node.port} as {', '.join(config.ae_titles)}"


def _listen(listener: Listener, config: Config) -> None:
    try:
        listener.start()
    except OSError as error:
        node = config.node
        raise NetworkError(f"cannot listen on {node.host} port {node.port}: {error.strerror}") from error
