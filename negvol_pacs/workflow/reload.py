"""Reading the configuration again while the process runs."""

from collections.abc import Callable
from pathlib import Path

import structlog

from negvol_pacs.config import RELOADABLE, Config, reloaded
from negvol_pacs.errors import ConfigError
from negvol_pacs.workflow.service import Service

_log = structlog.get_logger()


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
