"""The durable workflow engine: the only importer of dbos.

Three workflows, each on a queue of its own, deliveries with a part for each destination::

    dispatch(study)                      debounced: runs once the study has been quiet
      └── study(study, generation)       select → analyse, one at a time, the most urgent first
            └── delivery(study, result, destination, attempt)
                  └── delivery(…, attempt + 1), after a delay, until it is delivered or given up

A step runs at least once: after ``kill -9`` the one that was interrupted runs again and
those before it do not. What passes through the database is pickled, so workflows take and
return only strings and numbers. A delivery waits as a delayed row, not as a sleeping workflow:
it holds no thread and no place in the queue, and a restart does not count against it.
"""

import logging
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

import sqlalchemy as sa
from dbos import DBOS, DBOSClient, DBOSConfig, DebouncerClient, EnqueueOptions

from negvol_pacs.errors import DiskFull, StorageError
from negvol_pacs.storage.database import alone, is_full
from negvol_pacs.workflow.pulse import Pulse

APPLICATION = "negvol"
APPLICATION_VERSION = "1"
"""To be raised when a workflow's steps change order: work of another version is not picked up."""

ROUTINE, URGENT = 10, 1
"""Priorities, the smaller first; one that is not set would come before all others."""

_DELIVERIES = "deliveries"
_SENDERS, _SENDERS_TO_ONE = 16, 4
"""Deliveries at a time, in all and to one destination: one that answers slowly must not take every place."""

MAX_RECOVERY_ATTEMPTS = 5
"""A workflow that took the worker down more often needs a person."""

T = TypeVar("T")

_LOST = ["ERROR", "MAX_RECOVERY_ATTEMPTS_EXCEEDED"]
_ACTIVE = ["ENQUEUED", "DELAYED", "PENDING"]


class Work(Protocol):
    """What the workflows do: each method is one step, idempotent and safe to repeat."""

    def priority(self, study: str) -> int:
        """Say how urgent it is, `URGENT` to `ROUTINE` and beyond; no step: it decides nothing but the order."""

    def close(self, study: str) -> tuple[list[int], float | None]:
        """Close the study's input; return the generations to analyse, and seconds until to look again."""

    def select(self, study: str, generation: int) -> bool:
        """Choose the series; False when there is nothing to analyse (the ledger says why)."""

    def analyse(self, study: str, generation: int) -> list[tuple[str, str]]:
        """Make the results; return which result goes to which destination."""

    def deliver(self, study: str, result: str, destination: str) -> float | None:
        """Try once; return seconds to wait before the next try, None when that was the last."""


@dataclass(frozen=True)
class Lost:
    """A workflow that ended without an answer and waits for a person.

    Attributes
    ----------
    workflow_id
        Name in the engine's database.
    kind
        ``dispatch``, ``study`` or ``delivery``.
    arguments
        Of the workflow: study; study and generation; study, result, destination and attempt.
    reason
        What ended it.
    """

    workflow_id: str
    kind: str
    arguments: tuple[Any, ...]
    reason: str


def database_url(state: Path) -> str:
    """SQLAlchemy URL of the engine's database in the node's state folder."""
    return f"sqlite:///{(state / 'workflow.db').absolute()}"


def _join_log() -> None:
    """Let the engine's warnings come out in the node's log, in its format."""
    log = logging.getLogger("dbos")
    log.handlers, log.propagate = [], True
    log.setLevel(logging.WARNING)


def migrate(state: Path) -> None:
    """Create the engine's database or bring it up to date; before any process uses it.

    The database holds pickles: nobody but the service may write, or read, there.

    Raises
    ------
    StorageError
        If the state folder cannot be made or written (`DiskFull` where there is no space).
    """
    path = state / "workflow.db"
    try:
        state.mkdir(parents=True, exist_ok=True, mode=0o700)
        path.touch(mode=0o600)
        with alone(state):
            with closing(sqlite3.connect(path, timeout=30)) as connection:
                connection.execute("PRAGMA journal_mode=WAL")
            _join_log()
            DBOS.migrate(database_url(state))
    except (OSError, sqlite3.Error, sa.exc.DBAPIError) as error:
        kind = DiskFull if is_full(error) else StorageError
        raise kind(f"The state folder {state} cannot be used: {error}") from error


def study_key(study: str, generation: int) -> str:
    """Workflow ID of one generation of a study."""
    return f"study/{study}/{generation}"


def delivery_key(result: str, destination: str, attempt: int) -> str:
    """Workflow ID of one attempt to deliver a result."""
    return f"delivery/{result}/{destination}/{attempt}"


def _options(
    kind: str, key: str | None, priority: int | None, delay_s: float | None = None, destination: str | None = None
) -> EnqueueOptions:
    options: EnqueueOptions = {"workflow_name": kind, "queue_name": kind, "app_version": APPLICATION_VERSION}
    if destination is not None:
        options["queue_name"], options["queue_partition_key"] = _DELIVERIES, destination
    if key is not None:
        options["workflow_id"] = key
    if priority is not None:
        options["priority"] = priority
    if delay_s is not None:
        options["delay_seconds"] = delay_s
    return options


class Jobs:
    """The engine seen from a process that hands in work and never runs it: receiver, command line.

    Parameters
    ----------
    state
        The node's state folder; :func:`migrate` has been there before.
    """

    def __init__(self, state: Path) -> None:
        _join_log()
        self._client = DBOSClient(system_database_url=database_url(state), application_name=APPLICATION)
        self._debouncer = DebouncerClient(self._client, _options("dispatch", None, None))

    def close(self) -> None:
        """Let go of the database."""
        self._client.destroy()

    def touch(self, study: str, quiet_s: float) -> None:
        """Dispatch the study when it has been quiet for ``quiet_s`` seconds from now."""
        self._debouncer.debounce(study, quiet_s, study)

    def retry_study(self, study: str, generation: int) -> None:
        """Run a finished generation again from its first step."""
        key = study_key(study, generation)
        known = self._client.list_workflows(workflow_ids=[key], load_input=False, load_output=False)
        if not known:
            self._client.enqueue(_options("study", key, URGENT), study, generation)
        elif known[0].status not in _ACTIVE:
            self._client.rewind_workflow(key, queue_name="study", application_version=APPLICATION_VERSION)

    def retry_delivery(self, study: str, result: str, destination: str) -> None:
        """Send a result now, in place of the attempt that may be waiting."""
        self.cancel(f"delivery/{result}/{destination}/")
        attempt = time.time_ns()  # greater than any attempt before
        key = delivery_key(result, destination, attempt)
        options = _options("delivery", key, URGENT, destination=destination)
        self._client.enqueue(options, study, result, destination, attempt)

    def cancel(self, prefix: str) -> int:
        """Cancel the active workflows whose ID begins so, at their next step; return how many."""
        active = self._client.list_workflows(
            workflow_id_prefix=prefix, status=_ACTIVE, load_input=False, load_output=False
        )
        self._client.cancel_workflows([workflow.workflow_id for workflow in active])
        return len(active)


class Engine:
    """The engine in the worker process: runs the workflows until it is stopped.

    Parameters
    ----------
    state
        The node's state folder.
    executor_id
        Name of this worker; two live processes must never share one.
    work
        The steps.
    on_error
        Called with each error of a step before it is recorded, and with each error of a database:
        a workflow whose outcome cannot be written down stands still until the process ends. Ends the
        process when it cannot go on, which leaves the step for the next process to repeat.
    pulse
        Told of each step that runs.
    """

    def __init__(
        self,
        state: Path,
        executor_id: str,
        work: Work,
        on_error: Callable[[Exception], None],
        pulse: Pulse | None = None,
    ) -> None:
        self._work, self._on_error, self._pulse = work, on_error, pulse or Pulse()
        self._poll_s = 0.5
        config: DBOSConfig = {
            "name": APPLICATION,
            "system_database_url": database_url(state),
            "executor_id": executor_id,
            "application_version": APPLICATION_VERSION,
            "log_level": "WARNING",
            "enable_otlp": False,
        }
        DBOS(config=config)
        _join_log()
        for name, function in (("dispatch", self._dispatch), ("study", self._study), ("delivery", self._delivery)):
            DBOS.workflow(name=name, max_recovery_attempts=MAX_RECOVERY_ATTEMPTS)(_plain(function))

    def start(self) -> None:
        """Recover what an earlier process left and begin to take work."""
        sa.event.listen(sa.Engine, "handle_error", self._database_failed)
        DBOS.launch()
        # Deliveries that an earlier release handed in wait on the queue "delivery", whatever their destination.
        for name, concurrency in (("dispatch", 2), ("study", 1), ("delivery", 4)):
            DBOS.register_queue(
                name,
                worker_concurrency=concurrency,
                polling_interval_sec=self._poll_s,
                on_conflict="always_update",
            )
        DBOS.register_queue(
            _DELIVERIES,
            worker_concurrency=_SENDERS,
            partition_worker_concurrency=_SENDERS_TO_ONE,
            polling_interval_sec=self._poll_s,
            on_conflict="always_update",
        )

    def stop(self, grace_s: float) -> None:
        """Take no more work and wait up to ``grace_s`` seconds for what is running."""
        DBOS.destroy(workflow_completion_timeout_sec=int(grace_s))
        sa.event.remove(sa.Engine, "handle_error", self._database_failed)

    def _database_failed(self, context: sa.ExceptionContext) -> None:
        if isinstance(context.original_exception, Exception):
            self._on_error(context.original_exception)

    def lost(self) -> list[Lost]:
        """Workflows that ended without an answer: a defect, or they took the worker down too often."""
        return [
            Lost(
                workflow.workflow_id,
                workflow.name,
                tuple(workflow.input["args"]) if workflow.input else (),
                str(workflow.error or f"the worker ended {MAX_RECOVERY_ATTEMPTS + 1} times while it ran"),
            )
            for workflow in DBOS.list_workflows(status=_LOST)
        ]

    def forget(self, lost: Lost) -> None:
        """Remove a lost workflow, once the ledger knows: a retry begins anew."""
        DBOS.delete_workflow(lost.workflow_id)

    def hasten(self, longest_s: float) -> None:
        """Let go what waits longer than anything ever should: the clock was set back."""
        latest = 1000 * (time.time() + longest_s)
        for workflow in DBOS.list_workflows(status="DELAYED", load_input=False, load_output=False):
            if (workflow.delay_until_epoch_ms or 0) > latest:
                DBOS.set_workflow_delay(workflow.workflow_id, delay_seconds=0)

    def _dispatch(self, study: str) -> None:
        generations, again_s = self._step("close", lambda: self._work.close(study))
        for generation in generations:
            self._enqueue("study", study_key(study, generation), None, study, generation)
        if again_s is not None:
            self._enqueue("dispatch", None, again_s, study)

    def _study(self, study: str, generation: int) -> None:
        if not self._step("select", lambda: self._work.select(study, generation)):
            return
        for result, destination in self._step("analyse", lambda: self._work.analyse(study, generation)):
            self._deliver(None, study, result, destination, 1)

    def _delivery(self, study: str, result: str, destination: str, attempt: int) -> None:
        delay_s = self._step("send", lambda: self._work.deliver(study, result, destination))
        if delay_s is not None:
            self._deliver(delay_s, study, result, destination, attempt + 1)

    def _deliver(self, delay_s: float | None, study: str, result: str, destination: str, attempt: int) -> None:
        key = delivery_key(result, destination, attempt)
        options = _options("delivery", key, self._work.priority(study), delay_s, destination)
        DBOS.enqueue_workflow_with_options(options, study, result, destination, attempt)

    def _enqueue(self, kind: str, key: str | None, delay_s: float | None, study: str, *arguments: str | int) -> None:
        options = _options(kind, key, self._work.priority(study), delay_s)
        DBOS.enqueue_workflow_with_options(options, study, *arguments)

    def _step(self, name: str, function: Callable[[], T]) -> T:
        def guarded() -> T:
            try:
                with self._pulse.step():
                    return function()
            except Exception as error:
                self._on_error(error)
                raise

        return DBOS.run_step({"name": name}, guarded)


def _plain(method: Callable[..., None]) -> Callable[..., None]:
    """Return a function that calls the method: the engine registers functions only."""

    def function(*arguments: Any) -> None:
        method(*arguments)

    function.__qualname__ = method.__name__
    return function
