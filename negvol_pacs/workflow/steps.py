"""The steps of the workflows: each may be run again after a crash and then changes nothing more."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pydicom
import structlog
from pydicom import Dataset
from pydicom.uid import SegmentationStorage

from negvol_pacs.config import Config, Profile
from negvol_pacs.errors import SeriesRefused
from negvol_pacs.report.document import Report
from negvol_pacs.segmentation.weights import Networks
from negvol_pacs.series.selection import Selection, read_headers, select_series
from negvol_pacs.series.series import Series
from negvol_pacs.storage.inbox import Inbox
from negvol_pacs.storage.ledger import Ledger
from negvol_pacs.storage.outbox import Outbox
from negvol_pacs.storage.records import DeliveryState, Generation, Result, ResultKind, SeriesVerdict, State
from negvol_pacs.workflow import corrections, pipeline, priors, routing
from negvol_pacs.workflow.completeness import lacking
from negvol_pacs.workflow.delivery import Deliveries
from negvol_pacs.workflow.engine import ROUTINE, Lost
from negvol_pacs.workflow.orders import find_order
from negvol_pacs.workflow.priority import priority
from negvol_pacs.workflow.progress import Progress
from negvol_pacs.workflow.pulse import Pulse

_SEG = str(SegmentationStorage)

_log = structlog.get_logger()


class Steps:
    """What the workflows do, on the node's ledger, inbox and outbox.

    Parameters
    ----------
    config, ledger, inbox, outbox
        Of the node.
    networks
        Loaded weights, kept warm.
    pulse
        Gets a beat whenever the analysis moves.
    """

    def __init__(
        self,
        config: Config,
        ledger: Ledger,
        inbox: Inbox,
        outbox: Outbox,
        networks: Networks,
        *,
        pulse: Pulse | None = None,
    ) -> None:
        self._config, self._ledger, self._inbox, self._outbox = config, ledger, inbox, outbox
        self._networks, self._pulse = networks, pulse or Pulse()

    def reload(self, config: Config) -> None:
        """Take over destinations and delivery rules of a new configuration, from the next step on."""
        self._config = config

    def priority(self, study: str) -> int:
        """Say how urgent a study is; what hinders that hinders nothing else."""
        try:
            return priority(study, self._inbox, self._config)
        except Exception:  # noqa: BLE001 - what ails the database, the steps will tell
            _log.exception("priority-unknown", study=study)
            return ROUTINE

    def close(self, study: str) -> tuple[list[int], float | None]:
        """Close the study's input if it is quiet, or whole; see :class:`negvol_pacs.workflow.engine.Work`."""
        quiet_s = 0.0 if self._ledger.performed.is_whole(study) else self._config.series.quiet_period_s
        again_s = max(quiet_s, 1.0)
        if (quiet := self._ledger.quiet(study, quiet_s)) is not None:
            waits_s = self._proof(quiet)
            closed = self._ledger.complete_if_quiet(study, quiet_s) if waits_s is None else None
            again_s = again_s if waits_s is None else max(again_s, waits_s)
            if closed is not None:
                _log.info("study-complete", study=study, generation=closed.number, instances=closed.instances)
        complete = self._ledger.generations(study, states=[State.COMPLETE])
        still_open = self._ledger.generations(study, states=[State.RECEIVING])
        return [generation.number for generation in complete], again_s if still_open else None

    def _proof(self, quiet: Generation) -> float | None:
        """Prove that a study is whole: None when it is, else seconds until to look again; give up in time."""
        study, number = quiet.study_uid, quiet.number
        reason = lacking(study, self._inbox, self._config, self._pulse.beat)
        if not reason:
            return None
        log, elapsed = _log.bind(study=study, generation=number, reason=reason), time.time() - quiet.last_at
        if elapsed < self._config.series.whole_within_s:
            log.warning("study-waits-for-images")
            self._ledger.set_state(study, number, State.RECEIVING, reason=reason, expected=[State.RECEIVING])
            return min(elapsed, self._config.delivery.longest_retry_s)
        log.error("study-needs-person", code="incomplete")
        reason += f". To measure what came: negvol queue retry {study}"
        self._ledger.set_state(
            study, number, State.FAILED, code="incomplete", reason=reason, expected=[State.RECEIVING]
        )
        return 0.0

    def select(self, study: str, generation: int) -> bool:
        """Choose the series to measure and write down what the gate says about each one."""
        log = _log.bind(study=study, generation=generation)
        if self._superseded(study, generation):
            log.info("study-superseded")
            return False
        if not self._ledger.set_state(study, generation, State.PROCESSING, expected=[State.COMPLETE, State.PROCESSING]):
            return False
        series = self._headers(study, generation)
        self._keep_corrections(study, generation, series)
        try:
            self._check_orders(series)
            selection = select_series(series, self._config.series)
        except SeriesRefused as refusal:
            self._record_verdicts(study, generation, self._reasons(series), None)
            self._refuse(study, generation, refusal)
            return False
        self._record_verdicts(study, generation, selection.refused, selection.series)
        log.info("series-selected", series=selection.series.series_instance_uid, flags=sorted(selection.flags))
        return True

    def analyse(self, study: str, generation: int) -> list[tuple[str, str]]:
        """Measure the series and put the results into the outbox; the same input is not measured again."""
        log = _log.bind(study=study, generation=generation)
        series = self._headers(study, generation)
        started = time.monotonic()
        try:
            results = self._results(study, generation, series)
        except SeriesRefused as refusal:
            self._refuse(study, generation, refusal)
            return []
        if self._state(study, generation) is State.CANCELLED:
            log.info("study-cancelled")
            return []
        self._ledger.record_results(results, self._destinations(study, generation, series))
        # After a crash at this very point the step runs again: then it is done already, and goes on.
        if not self._ledger.set_state(study, generation, State.DONE, expected=[State.PROCESSING, State.DONE]):
            return []
        log.info("study-done", seconds=round(time.monotonic() - started, 1))
        own = {result.sop_uid for result in results}
        return [
            (delivery.sop_uid, delivery.destination)
            for delivery in self._ledger.deliveries(study)
            if delivery.sop_uid in own and delivery.state is DeliveryState.PENDING
        ]

    def deliver(self, study: str, result: str, destination: str) -> float | None:
        """Send one result to one destination, or confirm it, and say when to look again."""
        return Deliveries(self._config, self._ledger, self._outbox).deliver(study, result, destination)

    def give_up(self, lost: Lost) -> None:
        """Write down that a workflow ended without an answer and needs a person; repeating changes nothing."""
        study, *rest = lost.arguments
        if lost.kind == "delivery":
            result, destination, _ = rest
            waiting = self._ledger.deliveries(study, [DeliveryState.PENDING, DeliveryState.FAILED, DeliveryState.SENT])
            if any((d.sop_uid, d.destination) == (result, destination) for d in waiting):
                self._ledger.record_attempt(result, destination, DeliveryState.NEEDS_PERSON, lost.reason)
                _log.error("delivery-needs-person", study=study, result=result, reason=lost.reason)
            return
        active = [State.RECEIVING, State.COMPLETE, State.PROCESSING]
        numbers = rest or [entry.number for entry in self._ledger.generations(study, states=active)]
        for number in numbers:
            if self._ledger.set_state(
                study, number, State.FAILED, code="internal", reason=lost.reason, expected=active
            ):
                _log.error("study-needs-person", study=study, generation=number, reason=lost.reason)

    def _results(self, study: str, generation: int, series: Sequence[Series]) -> list[Result]:
        """Make the results, or take them from a generation whose input was the same."""
        self._check_orders(series)
        candidates = list(series)
        algorithm = pipeline.algorithm(self._networks, self._config.pipeline)
        first: SeriesRefused | None = None
        while True:
            try:
                selection = select_series(candidates, self._config.series)
            except SeriesRefused as refusal:
                raise (first or refusal) from None
            selection = replace(selection, order=self._order(selection.series))
            prior = priors.find(selection.series, self._ledger, self._outbox, self._config)
            profile = self._profile(study, generation, selection.series)
            fingerprint = pipeline.fingerprint(selection.series, algorithm, prior, profile)
            known = self._known(study, fingerprint)
            if known:
                _log.info("study-unchanged", study=study, generation=generation, same_as=known[0].generation)
                return [replace(entry, generation=generation) for entry in known]
            try:
                results = self._measure(study, generation, selection, fingerprint, prior, profile)
            except SeriesRefused as refusal:
                # The best series turned out to be no head or unreadable: the next best may do.
                first = first or refusal
                self._record_verdicts(study, generation, {selection.series.series_instance_uid: refusal}, None)
                candidates = [item for item in candidates if set(item.paths) != set(selection.series.paths)]
            else:
                self._record_verdicts(study, generation, {}, selection.series)
                return results

    def _known(self, study: str, fingerprint: str) -> list[Result]:
        """Return the latest results of the same input, unless retention has removed any of them."""
        known = [entry for entry in self._ledger.results(study) if entry.fingerprint == fingerprint]
        latest = [entry for entry in known if entry.generation == known[-1].generation]
        return latest if all(self._outbox.path(entry.path).is_file() for entry in latest) else []

    def _measure(  # noqa: PLR0917
        self,
        study: str,
        generation: int,
        selection: Selection,
        fingerprint: str,
        prior: Report | None,
        profile: Profile,
    ) -> list[Result]:
        former = [
            entry
            for entry in self._ledger.former_results(study, generation)
            if self._outbox.path(entry.path).is_file()  # retention may have removed it
        ]
        folder = self._outbox.folder(study, generation)
        made = pipeline.process_series(
            selection,
            self._networks,
            self._config,
            folder,
            datetime.now().astimezone(),
            progress=Progress(self._ledger, study, generation, self._pulse),
            former=[self._header(entry) for entry in former],
            prior=prior,
            profile=profile,
        )
        now = time.time()
        files = [
            (ResultKind.SEG, made.seg_uid, made.seg),
            (ResultKind.SR, made.sr_uid, made.sr),
            (ResultKind.PNG, "", made.picture),
        ]
        # A prior report changes the SR alone: an object that is known already stays as it was sent.
        same = {entry.sop_uid: replace(entry, generation=generation, fingerprint=fingerprint) for entry in former}
        return [
            same.get(uid)
            or Result(
                study,
                generation,
                kind,
                uid,
                self._outbox.relative(path),
                fingerprint,
                tuple(entry.sop_uid for entry in former if entry.kind is kind),
                now,
            )
            for kind, uid, path in files
            if path is not None
        ]

    def _profile(self, study: str, generation: int, series: Series) -> Profile:
        """Return the profile of the AE titles that a series came to."""
        own = set(series.sop_instance_uids)
        instances = self._ledger.instances(study, generation)
        return self._config.profile(entry.called_ae for entry in instances if entry.sop_uid in own)

    def _order(self, series: Series) -> Dataset | None:
        within_s = 3600 * self._config.worklist.match_within_h
        return find_order(series.first, self._ledger.orders, within_s)

    def _check_orders(self, series: Sequence[Series]) -> None:
        """Refuse the study where one series contradicts the worklist: its identity is not certain."""
        for item in series:
            self._order(item)

    def _destinations(self, study: str, generation: int, series: Sequence[Series]) -> list[str]:
        """Return the destinations whose rule fits the series that was measured."""
        measured = {verdict.series_uid for verdict in self._ledger.verdicts(study, generation) if verdict.measured}
        chosen = [item for item in series if item.series_instance_uid in measured] or series
        instances = self._ledger.instances(study, generation)
        own = [entry for entry in instances if entry.series_uid in measured] or instances
        return routing.takers(self._config.destinations, routing.Traits.of(chosen, own))

    def _headers(self, study: str, generation: int) -> list[Series]:
        instances = self._ledger.instances(study, generation)
        return read_headers([self._inbox.path(entry) for entry in instances if entry.sop_class_uid != _SEG])

    def _keep_corrections(self, study: str, generation: int, series: Sequence[Series]) -> None:
        """Keep corrected SEGs that came with this generation; the images may have come before."""
        folder = self._config.corrections.folder
        instances = self._ledger.instances(study, generation)
        new = [item for item in instances if item.generation == generation and item.sop_class_uid == _SEG]
        if folder is not None and new:
            corrections.keep([self._inbox.path(item) for item in new], series, self._config.series, folder)

    def _header(self, result: Result) -> Dataset:
        return pydicom.dcmread(self._outbox.path(result.path), stop_before_pixels=True)

    def _path(self, study: str, sop_uid: str) -> Path:
        return next(self._outbox.path(entry.path) for entry in self._ledger.results(study) if entry.sop_uid == sop_uid)

    def _state(self, study: str, generation: int) -> State | None:
        entry = self._ledger.generation(study, generation)
        return None if entry is None else entry.state

    def _superseded(self, study: str, generation: int) -> bool:
        """Cancel the generation where a later one, which holds all its instances, is waiting or done."""
        later = [
            entry.number
            for entry in self._ledger.generations(study, states=[State.COMPLETE, State.PROCESSING, State.DONE])
            if entry.number > generation
        ]
        return bool(later) and self._ledger.set_state(
            study,
            generation,
            State.CANCELLED,
            code="superseded",
            reason=f"More images came: see generation {later[-1]}.",
            expected=[State.COMPLETE],
        )

    def _reasons(self, series: Sequence[Series]) -> dict[str, SeriesRefused]:
        reasons = {}
        for item in series:
            try:
                self._order(item)
                select_series([item], self._config.series)
            except SeriesRefused as refusal:
                reasons[item.series_instance_uid] = refusal
        return reasons

    def _refuse(self, study: str, generation: int, refusal: SeriesRefused) -> None:
        """Write down a refusal, which is a result."""
        self._ledger.set_state(
            study, generation, State.REFUSED, code=refusal.code, reason=str(refusal), expected=[State.PROCESSING]
        )
        _log.warning("study-refused", study=study, generation=generation, code=refusal.code, reason=str(refusal))

    def _record_verdicts(
        self, study: str, generation: int, refused: Mapping[str, SeriesRefused], measured: Series | None
    ) -> None:
        entries = [
            SeriesVerdict(study, generation, uid, measured=False, code=reason.code, reason=str(reason))
            for uid, reason in refused.items()
        ]
        if measured is not None:
            uid = measured.series_instance_uid
            entries.append(SeriesVerdict(study, generation, uid, measured=True, code="", reason=""))
        self._ledger.record_verdicts(entries)
