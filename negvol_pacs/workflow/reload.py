"""Reading the configuration again while the process runs."""

from collections.abc import Callable
from pathlib import Path

import structlog

from negvol_pacs.config import Config, load
from negvol_pacs.errors import ConfigError
from negvol_pacs.workflow.service import Service

_log = structlog.get_logger()

RELOADABLE = ("profiles", "peers", "destinations", "delivery", "retention")
"""Sections that a running process takes over when it reads its configuration again."""


def reloaded(running: Config, path: Path) -> tuple[Config, list[str]]:
    """Read the configuration of a running process again.

    Parameters
    ----------
    running
        What the process runs with.
    path
        TOML file.

    Returns
    -------
    Config, list of str
        The running configuration with the sections of `RELOADABLE` as they stand in the file now, and
        the names of other sections that differ: they wait for a restart.

    Raises
    ------
    ConfigError
        As :func:`negvol_pacs.config.load`.
    """
    new = load(path)
    # The command line may have named this worker.
    new = new.model_copy(update={"node": new.node.model_copy(update={"executor_id": running.node.executor_id})})
    waiting = [
        name for name in Config.model_fields if name not in RELOADABLE and getattr(new, name) != getattr(running, name)
    ]
    return running.model_copy(update={name: getattr(new, name) for name in RELOADABLE}), waiting


def read_again(config: Config, path: Path, service: Service, take: Callable[[Config], None]) -> Config:
    """Read the file and hand what may change to ``take``; a file that is wrong changes nothing.

    Parameters
    ----------
    config
        What the process runs with.
    path
        Configuration file.
    service
        Is told of the reload; the caller says when it is ready again.
    take
        Gets the new configuration.

    Returns
    -------
    Config
        What the process runs with from now on.
    """
    service.reloading()
    try:
        config, waiting = reloaded(config, path)
    except ConfigError as error:
        _log.error("config-not-reloaded", reason=str(error))
        return config
    take(config)
    _log.info("config-reloaded", sections=RELOADABLE)
    if waiting:
        _log.warning("config-needs-restart", sections=waiting)
    return config
