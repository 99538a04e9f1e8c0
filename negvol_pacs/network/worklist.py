"""The modality worklist SCP: queries are passed on to every RIS and their answers merged (PS3.4 annex K).

Only Implicit VR Little Endian is taken, which everybody must offer (PS3.5 section 10.1): so queries
and matches go through with the bytes that they came in, whatever their character set.
"""

import time
from collections.abc import Iterator
from datetime import datetime
from io import BytesIO
from queue import Empty, SimpleQueue

import structlog
from pydicom import Dataset
from pynetdicom import evt
from pynetdicom.dimse_primitives import C_FIND
from pynetdicom.status import STATUS_FAILURE, code_to_category

from negvol_pacs.config import Config
from negvol_pacs.errors import MalformedObject, StorageError
from negvol_pacs.network.audit.messages import Party
from negvol_pacs.network.audit.trail import queried
from negvol_pacs.network.matching import answer, matches
from negvol_pacs.network.query import PENDING, UNABLE, Answer, Query
from negvol_pacs.storage.ledger import Ledger
from negvol_pacs.storage.orders import decode, encode, identity, order
from negvol_pacs.storage.records import Order

_SUCCESS, _TOO_MANY, _NO_QUERY, _CANCELLED = 0x0000, 0xA700, 0xA900, 0xFE00
_LOOK_S = 0.1
"""How often a query looks for a C-CANCEL."""

_log = structlog.get_logger()


class Worklist:
    """Answers worklist queries of modalities.

    Parameters
    ----------
    config
        With ``ris`` and ``worklist``.
    ledger
        Keeps what was seen.
    """

    def __init__(self, config: Config, ledger: Ledger) -> None:
        self._config, self._ledger = config, ledger

    def find(self, event: evt.Event) -> Iterator[tuple[Dataset, None]]:
        """Handle a C-FIND.

        Matches go out as they come. The last answer is 0x0000 when every RIS was heard to its
        end, or was stood in for by what was kept; 0xFE00 after a C-CANCEL, which every RIS gets
        too; 0xA700 when there are too many matches; else a failure, also when some RIS answered:
        a list that lacks an order must not look complete.
        """
        assoc, request = event.assoc, event.request
        peer, identifier = Party(assoc.dimse.origin.calling_ae, assoc.requestor.address), request.Identifier.getvalue()
        queried(peer, str(request.AffectedSOPClassUID), str(event.context.transfer_syntax), identifier)
        exchange = _Exchange(event, self._config, self._ledger)
        try:
            yield exchange.run(), None
        finally:
            exchange.end()


class _Exchange:
    """One query, from the request to the last answer."""

    def __init__(self, event: evt.Event, config: Config, ledger: Ledger) -> None:
        self._event, self._config, self._ledger = event, config, ledger
        self._answers: SimpleQueue[Answer] = SimpleQueue()
        self._queries = [Query(ris, config, event.request, self._answers) for ris in config.ris]
        self._from: dict[str, str] = {}
        """Which RIS was the first to tell of an order."""
        self._seen: list[Order] = []
        self._sent = 0
        self._log = _log.bind(
            association=event.assoc.dimse.association_id, calling_ae=event.assoc.dimse.origin.calling_ae
        )

    def run(self) -> Dataset:
        """Return the last answer."""
        try:
            query = decode(self._event.request.Identifier.getvalue())
        except MalformedObject as error:
            self._log.warning("worklist-refused", code=error.code, reason=str(error))
            return _last(_NO_QUERY, str(error))
        failed: list[Answer] = []
        for found in self._arrivals():
            if found.status == _CANCELLED and not found.ris:
                return self._finish(found)
            try:
                if found.status in PENDING and not self._pass_on(found):
                    return self._finish(Answer("", _TOO_MANY, comment=f"more than {self._sent} matches"))
            except MalformedObject as error:
                failed.append(Answer(found.ris, UNABLE, comment=f"{found.ris} answers nonsense: {error}"))
            if found.status not in (*PENDING, _SUCCESS):
                failed.append(found)
        if self._config.worklist.answer_from_kept:
            failed = [item for item in failed if item.heard or not self._stand_in(item.ris, query)]
        if not failed:
            return self._finish(Answer("", _SUCCESS))
        own = len(self._queries) == 1 and code_to_category(failed[0].status) == STATUS_FAILURE
        comment = "; ".join(item.comment or f"{item.ris} answers {item.status:04X}" for item in failed)
        return self._finish(Answer("", failed[0].status if own else UNABLE, comment=comment))

    def end(self) -> None:
        """Leave no query behind."""
        for query in self._queries:
            query.cancel()
        for query in self._queries:
            query.end()

    def _arrivals(self) -> Iterator[Answer]:
        """Yield answers until all have come, the time is up or the modality wants no more."""
        waiting = {query.ris for query in self._queries}
        deadline = time.monotonic() + self._config.worklist.timeout_s
        for query in self._queries:
            query.start()
        while waiting:
            if self._event.is_cancelled or self._event.assoc.acse.is_aborted():
                for query in self._queries:
                    query.cancel()
                yield Answer("", _CANCELLED)
                return
            if time.monotonic() > deadline:
                for ris in sorted(waiting):
                    yield Answer(ris, UNABLE, comment=f"{ris} does not answer in time", heard=False)
                return
            try:
                found = self._answers.get(timeout=_LOOK_S)
            except Empty:
                continue
            if found.status not in PENDING:
                waiting.discard(found.ris)
            yield found

    def _pass_on(self, found: Answer) -> bool:
        """Send a match unless another RIS told of the same order; False when there are too many."""
        key = identity(decode(found.identifier), found.identifier)
        if self._from.setdefault(key, found.ris) != found.ris:
            return True
        if self._sent >= self._config.worklist.max_matches:
            return False
        entry = order(found.ris, found.identifier, time.time(), whole=self._config.worklist.answer_from_kept)
        if entry is not None:
            self._seen.append(entry)
        self._send(found.status, found.identifier)
        return True

    def _send(self, status: int, identifier: bytes) -> None:
        request = self._event.request
        response = C_FIND()
        response.MessageID = response.MessageIDBeingRespondedTo = request.MessageID
        response.AffectedSOPClassUID = request.AffectedSOPClassUID
        response.Status, response.Identifier = status, BytesIO(identifier)
        self._event.assoc.dimse.send_msg(response, self._event.context.context_id)
        self._sent += 1

    def _stand_in(self, ris: str, query: Dataset) -> bool:
        """Answer for a RIS that is down with what it was seen to answer, marked so; False where that fails."""
        try:
            kept = self._ledger.orders.of_ris(ris)
        except StorageError as error:
            self._log.error("worklist-kept-failed", code=error.code, reason=str(error))
            return False
        count = 0
        for entry in kept:
            item = decode(entry.identifier)
            if entry.key not in self._from and matches(query, item) and self._sent < self._config.worklist.max_matches:
                seen = datetime.fromtimestamp(entry.seen_at).astimezone()
                note = f"[KEPT COPY OF {seen:%Y-%m-%d %H:%M}: WORKLIST SERVER IS DOWN]"
                self._send(PENDING[1], encode(answer(query, item, note)))
                count += 1
        self._log.warning("worklist-answered-from-kept", ris=ris, matches=count)
        return True

    def _finish(self, last: Answer) -> Dataset:
        """Keep what was seen, before the modality can act on it."""
        try:
            self._ledger.orders.record(self._seen, 86400 * self._config.worklist.keep_days)
        except StorageError as error:
            self._log.error("worklist-not-kept", code=error.code, reason=str(error))
        tell = self._log.info if last.status in (_SUCCESS, _CANCELLED) else self._log.warning
        tell("worklist-answered", status=f"{last.status:04X}", matches=self._sent, reason=last.comment)
        return _last(last.status, last.comment)


def _last(status: int, comment: str) -> Dataset:
    ds = Dataset()
    ds.Status = status
    if comment:
        ds.ErrorComment = comment.encode("ascii", "replace").decode()[:64]
    return ds
