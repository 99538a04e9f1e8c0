"""``negvol demo``: the whole way on one machine, over real associations on loopback."""

import json
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pydicom
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

from negvol_pacs import config
from negvol_pacs.config import Config, Destination
from negvol_pacs.errors import DeliveryFailed, NegvolError, NetworkError, NoSuitableSeries, PeerUnreachable
from negvol_pacs.network.sender import echo, send
from negvol_pacs.report.reading import read_findings
from negvol_pacs.report.table import findings_table
from negvol_pacs.segmentation.shipped import models_folder
from negvol_pacs.series.selection import read_headers
from negvol_pacs.storage.records import Generation, ResultKind, State
from negvol_pacs.workflow import layout, process
from negvol_pacs.workflow.demo_pacs import AE_TITLE, Pacs, free_port, open_pacs, run_alone
from negvol_pacs.workflow.process import Exit
from negvol_pacs.workflow.supervise import negvol

_START_S, _LIMIT_S = 120.0, 1800.0
_SENDER = "DEMO"
_PHANTOM_SPACING_MM = 0.6
_SAYING = {
    State.RECEIVING: "Waiting until the series is complete",
    State.COMPLETE: "Waiting for the worker",
    State.PROCESSING: "Choosing the series",
    State.DONE: "Results on their way to the PACS",
}
_CONFIG = """
[node]
port = {port}
state = {state}

[[peers]]
ae_title = "{sender}"
networks = ["127.0.0.0/8"]

[[destinations]]
name = "demo PACS"
ae_title = "{pacs}"
host = "127.0.0.1"
port = {pacs_port}
confirm = "none"

[limits]
min_free_bytes = 268435456
network_timeout_s = 20.0

[series]
quiet_period_s = 2.0

[web]
enabled = false
"""


@dataclass(frozen=True)
class _Outcome:
    generation: Generation
    received: dict[str, Path]
    picture: Path | None = None


def run(dicom: Path | None, folder: Path, console: Console) -> Exit:
    """Send a head CT to a node of its own, wait for the results at a PACS and show them.

    Parameters
    ----------
    dicom
        Folder of a CT series; None for a synthetic head.
    folder
        Where results, picture and log go.
    console
        Where to print.

    Returns
    -------
    Exit
        ``OK``, or ``REFUSED`` when the series was refused.

    Raises
    ------
    NegvolError
        If the node did not start, or gave no result in time; the message names its log.
    """
    run_alone()
    models_folder()  # without weights there is no point in starting
    folder.mkdir(parents=True, exist_ok=True)
    for old in ("SEG.dcm", "SR.dcm", "joints.png"):
        (folder / old).unlink(missing_ok=True)
    with ExitStack() as stack:
        say = stack.enter_context(_narrator(console))
        state = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="node-", dir=folder)))
        say("Starting a node and a PACS on loopback")
        pacs = stack.enter_context(closing(open_pacs(folder, state)))
        settings = _configure(state, pacs.port)
        node = stack.enter_context(_node(state / "config.toml", folder / "node.log"))
        say("Making a synthetic head CT" if dicom is None else f"Reading {dicom}")
        study, paths = _series(dicom, state)
        _send(paths, settings, say)
        outcome = _wait(study, state, pacs, node, say)
        say(f"Results at the PACS, {pacs.name}" if outcome.received else "Stopping the node")
    return _report(outcome, folder, console)


class _Narrator:
    """Says what is going on, each thing with its own time."""

    def __init__(self, bar: Progress) -> None:
        self._bar = bar
        self._task: TaskID | None = None
        self._text = ""

    def __call__(self, text: str) -> None:
        """Go on to the next thing; what differs only in brackets is the same thing."""
        thing = text.split(" (", maxsplit=1)[0]
        if self._task is not None and thing == self._text:
            self._bar.update(self._task, description=text)
            return
        self.close()
        self._task, self._text = self._bar.add_task(text, total=1), thing

    def close(self) -> None:
        """Mark the last thing as done."""
        if self._task is not None:
            self._bar.update(self._task, completed=1, description=self._text)


@contextmanager
def _narrator(console: Console) -> Iterator[_Narrator]:
    columns = (SpinnerColumn(finished_text="[green]✓"), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=console) as bar, closing(_Narrator(bar)) as narrator:
        yield narrator


def _configure(state: Path, pacs_port: int) -> Config:
    path = state / "config.toml"
    path.write_text(
        _CONFIG.format(
            port=free_port(),
            state=json.dumps(str(state.absolute())),
            sender=_SENDER,
            pacs=AE_TITLE,
            pacs_port=pacs_port,
        ),
        encoding="utf-8",
    )
    return config.load(path)


@contextmanager
def _node(config_file: Path, log: Path) -> Iterator["subprocess.Popen[bytes]"]:
    with log.open("wb") as stream:
        node = subprocess.Popen(
            negvol("serve", "--config", str(config_file)),
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=stream,
            env=process.environment(),
        )
        try:
            yield node
        except NegvolError as error:
            error.add_note(f"The node's log: {log}")
            raise
        finally:
            node.send_signal(signal.SIGTERM)
            node.wait()


def _series(dicom: Path | None, state: Path) -> tuple[str, list[Path]]:
    """Study Instance UID and files to send: the folder's largest study, or a synthetic one."""
    if dicom is None:
        from negvol_pacs.training.phantom import write_phantom

        dicom = state / "phantom"
        write_phantom(dicom, spacing_mm=_PHANTOM_SPACING_MM)
    studies: dict[str, list[Path]] = {}
    for series in read_headers(sorted(path for path in dicom.rglob("*") if path.is_file())):
        studies.setdefault(series.study_instance_uid, []).extend(series.paths)
    if not studies:
        raise NoSuitableSeries(f"There is no DICOM image in {dicom}.")
    return max(studies.items(), key=lambda item: len(item[1]))


def _send(paths: list[Path], settings: Config, say: _Narrator) -> None:
    node = settings.node
    peer = Destination(
        name="the node", ae_title=node.ae_title, host=node.host, port=node.port, calling_ae_title=_SENDER
    )
    say("Waiting for the node to listen")
    deadline = time.monotonic() + _START_S
    while True:
        try:
            echo(peer, settings)
            break
        except NetworkError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.5)
    say(f"Sending {len(paths)} images by C-STORE")
    for last_try in (False, False, True):
        try:
            send(paths, peer, settings)
            return
        except (DeliveryFailed, PeerUnreachable):  # what the node has already, it takes again without harm
            if last_try:
                raise


def _wait(study: str, state: Path, pacs: Pacs, node: "subprocess.Popen[bytes]", say: _Narrator) -> _Outcome:
    """Wait until all results are at the PACS, or it is clear that there will be none."""
    deadline = time.monotonic() + _LIMIT_S
    with closing(layout.open_ledger(state)) as ledger:
        while time.monotonic() < deadline and node.poll() is None:
            time.sleep(0.3)
            generation = ledger.generation(study)
            if generation is None:
                continue
            say(generation.reason or _SAYING.get(generation.state, generation.state.value))
            if generation.state in (State.REFUSED, State.FAILED, State.CANCELLED):
                return _Outcome(generation, {})
            if generation.state is State.DONE:
                results = ledger.results(study, generation.number)
                received = pacs.received()
                if {entry.kind.value for entry in results if entry.sop_uid} <= received.keys():
                    picture = next(entry.path for entry in results if entry.kind is ResultKind.PNG)
                    return _Outcome(generation, received, _keep(layout.open_outbox(state).path(picture), pacs.folder))
    raise NegvolError("The node gave no result in time.")


def _keep(picture: Path, folder: Path) -> Path:
    kept = folder / picture.name
    kept.write_bytes(picture.read_bytes())
    return kept


def _report(outcome: _Outcome, folder: Path, console: Console) -> Exit:
    generation = outcome.generation
    if generation.state is State.REFUSED:
        console.print(f"The series was refused ({generation.code}): {generation.reason}", style="yellow", markup=False)
        return Exit.REFUSED
    if generation.state is not State.DONE:
        raise NegvolError(f"The analysis failed: {generation.reason}; see {folder / 'node.log'}.")
    console.print(findings_table(read_findings(pydicom.dcmread(outcome.received["SR"]))))
    for modality, path in sorted(outcome.received.items()):
        console.print(f"{modality} received by C-STORE: {path}", markup=False, soft_wrap=True)
    console.print(f"Picture of both joints: {outcome.picture}", markup=False, soft_wrap=True)
    return Exit.OK
