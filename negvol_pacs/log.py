"""The structured log: one event a line on standard error, keywords instead of sentences.

UIDs, AE titles and codes are logged; names and other content of a data set never are. So the
loggers of pydicom and pynetdicom, which quote what they read, are heard only when they fail.
"""

import logging
import sys
from collections.abc import MutableMapping
from typing import Any

import structlog

from negvol_pacs.config import Log

_QUOTING = ("pynetdicom", "pydicom", "highdicom", "py.warnings")


def configure(log: Log) -> None:
    """Set up logging for this process."""
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        escape_control_characters,
    ]
    structlog.configure(
        processors=[structlog.stdlib.filter_by_level, *shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
    )
    renderer: Any = structlog.processors.JSONRenderer()
    if log.format == "console":
        renderer = structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared,
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    logging.basicConfig(handlers=[handler], level=log.level.upper(), force=True)
    logging.captureWarnings(True)
    for name in _QUOTING:
        logging.getLogger(name).setLevel(logging.CRITICAL)


def escape_control_characters(
    _logger: object, _method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """Keep what a peer sent from forging lines of the log or commanding a terminal."""
    for key, value in event.items():
        if isinstance(value, str) and not value.isprintable() and key != "exception":
            event[key] = value.encode("unicode_escape").decode("ascii")
    return event
