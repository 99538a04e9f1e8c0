"""The log: structured, without forged lines, without what libraries quote."""

import json
import subprocess
import sys

import pytest

SCRIPT = """
import logging, sys, warnings
import structlog
from negvol_pacs.config import Log
from negvol_pacs.log import configure
configure(Log(level="info", format=sys.argv[1]))
log = structlog.get_logger()
log.info("instance-refused", sop_uid="1.2\\n{\\"event\\": \\"forged\\"}\\x1b[31m", code="x")
log.debug("quiet")
logging.getLogger("pynetdicom.dul").error("DOE^JANE")
warnings.warn("Invalid value DOE^JANE")
logging.getLogger("other").warning("from elsewhere")
secret = "DOE^JANE"
try:
    1 / 0
except ZeroDivisionError:
    log.exception("failed")
"""


@pytest.mark.parametrize("style", ["json", "console"])
def test_lines_are_events_and_quote_nobody(style):
    done = subprocess.run([sys.executable, "-c", SCRIPT, style], capture_output=True, text=True, check=True)
    assert "JANE" not in done.stderr and "quiet" not in done.stderr and "\x1b[31m" not in done.stderr
    assert "instance-refused" in done.stderr and "ZeroDivisionError" in done.stderr
    lines = done.stderr.splitlines()
    if style == "json":
        events = [json.loads(line) for line in lines]
        assert [event["event"] for event in events] == ["instance-refused", "from elsewhere", "failed"]
        assert events[0]["sop_uid"].startswith("1.2\\n") and events[0]["level"] == "info" and events[0]["timestamp"]
