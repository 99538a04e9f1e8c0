"""``negvol queue``: what became of every study, and the few things a person can do about it."""

import os
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from negvol_pacs import config
from negvol_pacs.commands.console import DEFAULT_CONFIG, ConfigFile, fail, out
from negvol_pacs.storage.ledger import Ledger
from negvol_pacs.storage.records import Delivery, DeliveryState, Generation, State
from negvol_pacs.workflow import layout
from negvol_pacs.workflow.process import Exit

if TYPE_CHECKING:
    from negvol_pacs.workflow.engine import Jobs

app = typer.Typer(help="List, show, retry or cancel studies.")

Study = Annotated[str, typer.Argument(help="Study Instance UID.")]

_COLOURS = {
    State.RECEIVING: "cyan",
    State.COMPLETE: "cyan",
    State.PROCESSING: "blue",
    State.DONE: "green",
    State.REFUSED: "yellow",
    State.FAILED: "red",
    State.CANCELLED: "dim",
}
_STOPPED = (State.REFUSED, State.FAILED, State.CANCELLED)
_UNDELIVERED = tuple(state for state in DeliveryState if state is not DeliveryState.CONFIRMED)


@app.callback(invoke_without_command=True)
def default(context: typer.Context) -> None:
    """List studies when no command is given."""
    if context.invoked_subcommand is None:
        list_studies(Path(os.environ.get("NEGVOL_CONFIG", DEFAULT_CONFIG)))


@app.command("list")
def list_studies(
    config_file: ConfigFile = DEFAULT_CONFIG,
    state: Annotated[State | None, typer.Option(help="Only those in this state.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="Newest first.")] = 50,
) -> None:
    """List studies: state, what it waits for, and why one was refused."""
    with _ledger(config_file) as ledger:
        generations = ledger.generations(states=None if state is None else [state], limit=limit)
        for entry in reversed(generations):
            sent, planned = _delivered(ledger, entry)
            delivered = f", {sent} of {planned} deliveries made" if planned else ""
            out.print(
                f"{entry.study_uid} generation {entry.number} [{_COLOURS[entry.state]}]{entry.state.words}[/]"
                f" since {_time(entry.updated_at)}, {entry.instances} images{delivered}",
                soft_wrap=True,
            )
            for line in _details(ledger, entry):
                _line(f"    {line}")
        if not generations:
            out.print("The queue is empty.")


@app.command()
def show(study: Study, config_file: ConfigFile = DEFAULT_CONFIG) -> None:
    """Show one study: generations, what the gate said about each series, results, deliveries."""
    with _ledger(config_file) as ledger:
        for entry in _known(ledger, study):
            _line(f"Generation {entry.number}: {entry.state.words} {_reason(entry)}")
            _line(f"  {entry.instances} images from {entry.calling_ae}, last {_time(entry.last_at)}")
            for verdict in ledger.verdicts(study, entry.number):
                _line(f"  series {verdict.series_uid}: {'measured' if verdict.measured else verdict.reason}")
            for result in ledger.results(study, entry.number):
                _line(f"  {result.kind} {result.sop_uid} {result.path}")
        for delivery in ledger.deliveries(study):
            _line(f"{delivery.sop_uid} to {delivery.destination}: {_progress(delivery)}")
        removal = ledger.removals.find(study)
        if removal is not None:
            _line(f"{removal.instances} images removed {_time(removal.removed_at)}: {removal.reason}")


@app.command()
def retry(
    study: Annotated[str | None, typer.Argument(help="Study Instance UID.")] = None,
    config_file: ConfigFile = DEFAULT_CONFIG,
    *,
    everything: Annotated[bool, typer.Option("--all", help="All studies that need a person.")] = False,
) -> None:
    """Do again what stopped: the analysis of the latest generation, or what was not delivered."""
    from negvol_pacs.workflow.engine import Jobs

    if (study is None) is not everything:
        fail("either a study or --all is needed", Exit.USAGE)
    with _ledger(config_file) as ledger, closing(Jobs(_state(config_file))) as jobs:
        if study is not None:
            _retry(_known(ledger, study)[-1], ledger, jobs, _STOPPED, _UNDELIVERED)
            return
        latest = {entry.study_uid: entry for entry in ledger.generations()}
        for entry in latest.values():
            waiting = ledger.deliveries(entry.study_uid, [DeliveryState.NEEDS_PERSON])
            if entry.state is State.FAILED or waiting:
                _line(entry.study_uid)
                _retry(entry, ledger, jobs, [State.FAILED], [DeliveryState.NEEDS_PERSON])


def _retry(
    latest: Generation,
    ledger: Ledger,
    jobs: "Jobs",
    stopped: Sequence[State],
    undelivered: Sequence[DeliveryState],
) -> None:
    study, number = latest.study_uid, latest.number
    removal = ledger.removals.find(study)
    if latest.state in stopped and not latest.instances and removal is not None:
        fail(f"its images were removed {_time(removal.removed_at)}; send them again", Exit.ERROR)
    if ledger.set_state(study, number, State.COMPLETE, expected=[*stopped, State.COMPLETE]):
        jobs.retry_study(study, number)
        _line(f"generation {number} will be analysed again")
        return
    waiting = ledger.deliveries(study, undelivered)
    for delivery in waiting:
        ledger.retry_delivery(delivery.sop_uid, delivery.destination)
        jobs.retry_delivery(study, delivery.sop_uid, delivery.destination)
        _line(f"{delivery.sop_uid} will be sent again to {delivery.destination}")
    if not waiting:
        _line(f"nothing to do again: generation {number} is {latest.state.words}")


@app.command()
def cancel(study: Study, config_file: ConfigFile = DEFAULT_CONFIG) -> None:
    """Stop work on a study: nothing more is measured, nothing more is sent."""
    from negvol_pacs.workflow.engine import Jobs

    with _ledger(config_file) as ledger, closing(Jobs(_state(config_file))) as jobs:
        cancelled = 0
        for entry in _known(ledger, study):
            active = (State.RECEIVING, State.COMPLETE, State.PROCESSING)
            cancelled += ledger.set_state(study, entry.number, State.CANCELLED, code="cancelled", expected=active)
        for delivery in ledger.deliveries(study, [DeliveryState.PENDING, DeliveryState.FAILED, DeliveryState.SENT]):
            ledger.record_attempt(
                delivery.sop_uid, delivery.destination, DeliveryState.NEEDS_PERSON, "cancelled by a person"
            )
            jobs.cancel(f"delivery/{delivery.sop_uid}/{delivery.destination}/")
            cancelled += 1
        jobs.cancel(f"study/{study}/")
        out.print("cancelled" if cancelled else "nothing to cancel")


def _line(text: str) -> None:
    out.print(text, markup=False, soft_wrap=True)


def _state(config_file: Path) -> Path:
    return config.load(config_file).node.state


@contextmanager
def _ledger(config_file: Path) -> Iterator[Ledger]:
    state = _state(config_file)
    if not (state / "ledger.db").exists():
        fail(f"there is no ledger in {state}; has the node run with this configuration?", Exit.ERROR)
    with closing(layout.open_ledger(state)) as ledger:
        yield ledger


def _known(ledger: Ledger, study: str) -> list[Generation]:
    generations = ledger.generations(study)
    if not generations:
        fail(f"nothing was received of study {study}", Exit.ERROR)
    return generations


def _delivered(ledger: Ledger, entry: Generation) -> tuple[int, int]:
    own = {result.sop_uid for result in ledger.results(entry.study_uid, entry.number)}
    deliveries = [delivery for delivery in ledger.deliveries(entry.study_uid) if delivery.sop_uid in own]
    return sum(delivery.state is DeliveryState.CONFIRMED for delivery in deliveries), len(deliveries)


def _details(ledger: Ledger, entry: Generation) -> Iterator[str]:
    """Say why it stands where it does, and what a person must look at."""
    if _reason(entry):
        yield _reason(entry)
    own = {result.sop_uid: result.kind for result in ledger.results(entry.study_uid, entry.number)}
    for delivery in ledger.deliveries(entry.study_uid, [DeliveryState.NEEDS_PERSON]):
        if delivery.sop_uid in own:
            yield (
                f"{own[delivery.sop_uid]} to {delivery.destination} needs a person after {delivery.attempts} attempts: "
                f"{delivery.error}. Then: negvol queue retry {entry.study_uid}"
            )


def _reason(entry: Generation) -> str:
    return f"{entry.code}: {entry.reason}" if entry.code else entry.reason


def _progress(delivery: Delivery) -> str:
    words = delivery.state.words
    words += f" after {delivery.attempts} attempts" if delivery.attempts else ""
    if delivery.state is DeliveryState.FAILED:
        words += f", next {_time(delivery.next_try)}"
    return f"{words}: {delivery.error}" if delivery.error else words


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds).astimezone().isoformat(" ", "seconds")[:19]
