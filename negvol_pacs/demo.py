"""``negvol demo``: the whole way on one machine, over real associations on loopback."""

import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import pydicom
from pynetdicom import AE, AllStoragePresentationContexts, evt
from pynetdicom.events import Event
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

from negvol_pacs import config
from negvol_pacs.config import Config, Destination
from negvol_pacs.errors import NetworkError, NoSuitableSeries
from negvol_pacs.network.sender import echo, send
from negvol_pacs.report.reading import read_findings
from negvol_pacs.report.table import findings_table
from negvol_pacs.series.selection import read_headers
from negvol_pacs.storage.records import Generation, ResultKind, State
from negvol_pacs.workflow import layout, process
from negvol_pacs.workflow.process import Exit
from negvol_pacs.workflow.supervise import negvol

_START_S = 60.0
_LIMIT_S = 1800.0
_SENDER, _PACS = "DEMO", "DEMOPACS"

_CONFIG = """
[node]
port = {port}
state = "{state}"

[[peers]]
ae_title = "{sender}"
networks = ["127.0.0.0/8"]

[[destinations]]
name = "demo PACS"
ae_title = "{pacs}"
host = "127.0.0.1"
port = {pacs_port}

[limits]
min_free_bytes = 268435456

[series]
quiet_period_s = 2.0
"""


class Pacs:
    """A storage SCP on loopback that stands for the PACS: keeps what it gets, by modality.

    Parameters
    ----------
    folder
        Where ``SEG.dcm`` and ``SR.dcm`` go.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.received: dict[str, Path] = {}
        ae = AE(ae_title=_PACS)
        for context in AllStoragePresentationContexts:
            ae.add_supported_context(context.abstract_syntax)
        self._server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, self._store)])
        self.port: int = self._server.socket.getsockname()[1]

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()

    def _store(self, event: Event) -> int:
        dataset = event.dataset
        dataset.file_meta = event.file_meta
        path = self.folder / f"{dataset.Modality}.dcm"
        dataset.save_as(path, enforce_file_format=True)
        self.received[str(dataset.Modality)] = path
        return 0x0000


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
        ``OK``; ``REFUSED`` when the series was refused; ``TIMEOUT`` or ``ERROR`` when no result came.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for old in ("SEG.dcm", "SR.dcm", "joints.png"):
        (folder / old).unlink(missing_ok=True)
    with ExitStack() as stack:
        bar = stack.enter_context(
            Progress(SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn(), console=console)
        )
        say = _Narrator(bar)
        state = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="node-", dir=folder)))
        pacs = stack.enter_context(closing(Pacs(folder)))
        settings = _configure(state, pacs.port)
        log = folder / "node.log"
        stack.enter_context(_node(state / "config.toml", log))
        say("Making a synthetic head CT" if dicom is None else f"Reading {dicom}")
        study, paths = _series(dicom, state)
        peer = Destination(
            name="node",
            ae_title=settings.node.ae_title,
            host="127.0.0.1",
            port=settings.node.port,
            calling_ae_title=_SENDER,
        )
        say("Waiting for the node to listen")
        if not _listening(peer, settings):
            console.print(f"[red]The node did not start; see {log}")
            return Exit.TIMEOUT
        say(f"Sending {len(paths)} images by C-STORE")
        send(paths, peer, settings)
        generation, picture = _wait(study, state, pacs, say)
        if picture is not None:
            (folder / "joints.png").write_bytes(picture.read_bytes())
        say("Stopping the node")
    return _report(generation, pacs, console, log)


class _Narrator:
    """Says what is going on, each thing with its own time."""

    def __init__(self, bar: Progress) -> None:
        self._bar = bar
        self._task: TaskID | None = None
        self._text = ""

    def __call__(self, text: str) -> None:
        """Go on to the next thing; the same beginning of a sentence is the same thing."""
        if self._task is not None and text.split(" (", maxsplit=1)[0] == self._text.split(" (")[0]:
            self._bar.update(self._task, description=text)
        else:
            if self._task is not None:
                self._bar.stop_task(self._task)
            self._task = self._bar.add_task(text, total=None)
        self._text = text


def _configure(state: Path, pacs_port: int) -> Config:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    text = _CONFIG.format(port=port, state=state.absolute(), sender=_SENDER, pacs=_PACS, pacs_port=pacs_port)
    (state / "config.toml").write_text(text, encoding="utf-8")
    return config.load(state / "config.toml")


@contextmanager
def _node(config_file: Path, log: Path) -> Iterator[None]:
    with log.open("wb") as stream:
        node = subprocess.Popen(
            negvol("serve", "--config", str(config_file)),
            stdout=stream,
            stderr=stream,
            stdin=subprocess.DEVNULL,
            env=process.environment() | {"PYTHONUNBUFFERED": "1"},
        )
        try:
            yield
        finally:
            node.send_signal(signal.SIGTERM)
            node.wait()


def _series(dicom: Path | None, state: Path) -> tuple[str, list[Path]]:
    """Study Instance UID and files to send: the folder's largest study, or a synthetic one."""
    if dicom is None:
        from negvol_pacs.training.phantom import write_phantom

        dicom = state / "phantom"
        write_phantom(dicom)
    studies: dict[str, list[Path]] = {}
    for series in read_headers(sorted(path for path in dicom.rglob("*") if path.is_file())):
        studies.setdefault(series.study_instance_uid, []).extend(series.paths)
    if not studies:
        raise NoSuitableSeries(f"there is no DICOM image in {dicom}")
    return max(studies.items(), key=lambda item: len(item[1]))


def _listening(peer: Destination, settings: Config) -> bool:
    deadline = time.monotonic() + _START_S
    while time.monotonic() < deadline:
        try:
            echo(peer, settings)
        except NetworkError:
            time.sleep(0.5)
        else:
            return True
    return False


def _wait(study: str, state: Path, pacs: Pacs, say: _Narrator) -> tuple[Generation | None, Path | None]:
    """Wait until all results are at the PACS, or there will be none; return the picture's file too."""
    deadline = time.monotonic() + _LIMIT_S
    generation = None
    with closing(layout.open_ledger(state)) as ledger:
        outbox = layout.open_outbox(state)
        while time.monotonic() < deadline:
            generation = ledger.generation(study)
            if generation is not None:
                say(
                    {State.RECEIVING: "Waiting until the series is complete", State.DONE: "Sending the results"}.get(
                        generation.state, generation.reason or generation.state.value
                    )
                )
                if generation.state in (State.REFUSED, State.FAILED, State.CANCELLED):
                    return generation, None
                results = ledger.results(study, generation.number)
                wanted = {entry.kind.value for entry in results if entry.sop_uid}
                if generation.state is State.DONE and wanted <= pacs.received.keys():
                    pictures = [entry.path for entry in results if entry.kind is ResultKind.PNG]
                    return generation, outbox.path(pictures[0]) if pictures else None
            time.sleep(0.3)
    return generation, None


def _report(generation: Generation | None, pacs: Pacs, console: Console, log: Path) -> Exit:
    if generation is not None and generation.state is State.REFUSED:
        console.print(f"[yellow]The series was refused ({generation.code}):[/] {generation.reason}", soft_wrap=True)
        return Exit.REFUSED
    if "SR" not in pacs.received:
        reason = generation.reason if generation is not None else "the node received nothing"
        console.print(f"[red]No result:[/] {reason}; see {log}", soft_wrap=True)
        return Exit.ERROR if generation is not None and generation.state is State.FAILED else Exit.TIMEOUT
    console.print(findings_table(read_findings(pydicom.dcmread(pacs.received["SR"]))))
    for name, path in sorted(pacs.received.items()):
        console.print(f"{name} at the PACS: {path}", soft_wrap=True)
    console.print(f"Picture: {pacs.folder / 'joints.png'}", soft_wrap=True)
    return Exit.OK
