"""The web process: shows people and monitors how the node stands."""

from functools import partial
from pathlib import Path

import structlog

from negvol_pacs.config import Config
from negvol_pacs.errors import NetworkError
from negvol_pacs.network.audit import trail
from negvol_pacs.network.audit.messages import Party
from negvol_pacs.web import server
from negvol_pacs.web.guards import guarded
from negvol_pacs.web.node import Node
from negvol_pacs.web.passwords import Users
from negvol_pacs.web.site import create_app
from negvol_pacs.workflow import layout, process
from negvol_pacs.workflow.reload import read_again
from negvol_pacs.workflow.service import Service

_TURN_S = 0.5
_DRAIN_S = 5.0

_log = structlog.get_logger()


def run(config: Config, config_file: Path) -> None:
    """Answer until SIGTERM or SIGINT; read ``config_file`` again at SIGHUP. The ledger is only read.

    Raises
    ------
    ConfigError
        If certificate or password file cannot be used.
    NetworkError
        If the address cannot be listened to.
    """
    stop, reload, service = process.stop_event(), process.reload_event(), Service()
    web, state = config.web, config.node.state
    server.check(web)
    node = Node(config, partial(layout.open_ledger, state, read_only=True), state / "inbox", state / "outbox")
    users = None if web.password_file is None else Users(web.password_file)
    with trail.recording(config):
        app = guarded(create_app(node, trail.accessed), web, users, _refused)
        http = server.Server(web, app, service.alive)
        http.start()
        where = f"{'http' if web.tls is None else 'https'}://{web.host}:{web.port}"
        _log.info("web-ready", url=where)
        service.ready(f"answering at {where}")
        while not stop.wait(_TURN_S):
            if reload.is_set():
                reload.clear()
                node.config = read_again(node.config, config_file, service, lambda _config: None)
                http.reload()
                service.ready(f"answering at {where}")
            if not http.is_running:
                raise NetworkError("the status page's server has ended")
        service.stopping(_DRAIN_S)
        http.stop()


def _refused(address: str, reason: str) -> None:
    _log.warning("login-refused", address=address, reason=reason)
    trail.refused(Party("", address), reason)
