"""The node as the status page sees it: its ledger, opened anew for each look, and its files."""

import math
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from datetime import datetime
from pathlib import Path

import structlog

from negvol_pacs import __version__
from negvol_pacs.config import Config
from negvol_pacs.errors import OrderMismatch, StorageError
from negvol_pacs.storage.ledger import Ledger
from negvol_pacs.storage.lifesigns import Process, processes
from negvol_pacs.storage.overview import Stand, Standing
from negvol_pacs.storage.records import DeliveryState, ResultKind
from negvol_pacs.web.health import Health, judge, measure_disk
from negvol_pacs.web.identity import UNKNOWN, Identity, read_identity
from negvol_pacs.web.views import Count, Line, Lines, Status, Traffic, Worker

PAGE = 50

_log = structlog.get_logger()


class Node:
    """Looks at a node and changes nothing.

    Parameters
    ----------
    config
        Of the node.
    open_ledger
        Opens its ledger to be read; raises StorageError where that is not possible.
    inbox, outbox
        Folders of its images and results.
    clock
        Seconds since the epoch.

    Raises
    ------
    StorageError
        From every method but `health`, when the ledger cannot be read.
    """

    def __init__(
        self,
        config: Config,
        open_ledger: Callable[[], Ledger],
        inbox: Path,
        outbox: Path,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.config, self._open_ledger, self._clock = config, open_ledger, clock
        self.inbox, self.outbox = inbox, outbox

    @contextmanager
    def ledger(self) -> Iterator[Ledger]:
        """Open the ledger for the length of the block: it may have been made anew since the last time."""
        with closing(self._open_ledger()) as ledger:
            yield ledger

    def health(self) -> Health:
        """Say whether the node does its work; never raises."""
        try:
            with self.ledger() as ledger:
                needing_person = ledger.overview.counts()[Standing.NEEDS_PERSON]
        except StorageError as error:
            _log.error("ledger-unreadable", reason=str(error))
            needing_person = None
        return self._judge(needing_person)

    def _judge(self, needing_person: int | None) -> Health:
        return judge(self._processes(), measure_disk(self.config), self._clock(), needing_person)

    def _processes(self) -> list[Process]:
        return processes(self.config.node.state)

    def status(self) -> Status:
        """Look at the node as a whole."""
        with self.ledger() as ledger:
            counts, traffic = ledger.overview.counts(), ledger.overview.deliveries()
        configured = [
            destination.name for destination in self.config.destinations if destination.kind != "availability"
        ]
        nothing = dict.fromkeys(DeliveryState, 0)
        return Status(
            ae_title=self.config.node.ae_title,
            version=__version__,
            made_at=moment(self._clock()),
            health=self._judge(counts[Standing.NEEDS_PERSON]),
            counts=[Count(standing, standing.words, number) for standing, number in counts.items()],
            destinations=[
                Traffic(name, name in configured, dict(traffic.get(name, nothing)))
                for name in dict.fromkeys([*configured, *traffic])
            ],
            processes=[self._worker(process) for process in self._processes()],
            disk=measure_disk(self.config),
        )

    def _worker(self, process: Process) -> Worker:
        return Worker(
            process.kind,
            process.name,
            process.is_silent(self._clock()),
            moment(process.seen_at),
            moment(process.started_at) if process.started_at else None,
            process.version,
            process.told,
        )

    def oldest_active_s(self) -> float:
        """Return for how many seconds the oldest study has been on its way that is not yet measured or refused."""
        with self.ledger() as ledger:
            begun = ledger.overview.oldest_active()
        return 0.0 if begun is None else max(0.0, self._clock() - begun)

    def studies(self, standing: Standing | None = None, page: int = 1) -> Lines:
        """List studies, what changed last first.

        Parameters
        ----------
        standing
            Only those that stand so.
        page
            From 1 on; `PAGE` studies each.
        """
        standings = list(Standing) if standing is None else [standing]
        with self.ledger() as ledger:
            counts = ledger.overview.counts()
            found = ledger.overview.studies(standings, limit=PAGE, offset=PAGE * (page - 1))
            lines = self._lines(ledger, found)
        pages = math.ceil(sum(counts[each] for each in standings) / PAGE)
        return Lines(standing, lines, page, max(1, pages))

    def mismatched(self) -> list[Line]:
        """List studies that were refused because the worklist's order is for another patient."""
        with self.ledger() as ledger:
            return self._lines(ledger, ledger.overview.studies(code=OrderMismatch.code, limit=PAGE))

    def _lines(self, ledger: Ledger, stands: Iterable[Stand]) -> list[Line]:
        return [self.line(ledger, stand) for stand in stands]

    def line(self, ledger: Ledger, stand: Stand) -> Line:
        """Describe a study in one line."""
        identity = self.identity(stand)
        reason = stand.reason
        if not reason and stand.stuck:
            stuck = ledger.deliveries(stand.study_uid, [DeliveryState.NEEDS_PERSON])
            reason = "; ".join(
                dict.fromkeys(f"not delivered to {delivery.destination}: {delivery.error}" for delivery in stuck)
            )
        return Line(
            stand.study_uid,
            identity.accession_number,
            identity.study_date,
            stand.standing,
            stand.standing.words,
            stand.code,
            reason,
            stand.number,
            stand.instances,
            stand.calling_ae,
            moment(stand.opened_at),
            moment(stand.updated_at),
            stand.planned,
            stand.confirmed,
        )

    def identity(self, stand: Stand) -> Identity:
        """Read what a person knows a study by, out of an image, or the report where the images are gone."""
        files = (stand.image and self.inbox / stand.image, stand.report and self.outbox / stand.report)
        for path in filter(None, files):
            try:
                return read_identity(path)
            except FileNotFoundError:
                continue
        return UNKNOWN

    def picture(self, study_uid: str) -> Path | None:
        """Find the latest picture of a study's joints."""
        with self.ledger() as ledger:
            found = [entry.path for entry in ledger.results(study_uid) if entry.kind is ResultKind.PNG]
        return next((self.outbox / path for path in reversed(found) if (self.outbox / path).is_file()), None)


def moment(seconds: float) -> datetime:
    """Return a time in the zone of this machine."""
    return datetime.fromtimestamp(seconds).astimezone()
