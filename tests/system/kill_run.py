"""One series through a node whose processes are killed, restarted and watched until the PACS has everything."""

import json
import shutil
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path

import highdicom as hd
import numpy as np
from forged_node import Forge, ForgedNode
from node_settings import node_settings
from peers import Orthanc
from pydicom import dcmread

from negvol_pacs.config import Config, Destination, Limits, load
from negvol_pacs.errors import NetworkError, StorageError
from negvol_pacs.network.sender import Sent, send
from negvol_pacs.storage.ledger import Ledger
from negvol_pacs.storage.records import DeliveryState, State
from negvol_pacs.training.ct_series import Scan, write_ct_series
from negvol_pacs.workflow import layout

STUDY, SLICES = "1.2.826.0.1.3680043.8.498.9", 3
PATIENCE_S, IN_ALL_S, STILL_S = 60.0, 600.0, 0.6
"""Without a new point, with new ones (a busy machine), and until nothing more is expected."""


def settings_of(pacs: Orthanc, state: Path, least: int = 0) -> str:
    """Return the configuration of a node that tries again soon; its watermark in bytes."""
    return node_settings(
        state,
        pacs.node_port,
        ["MODALITY"],
        pacs,
        limits={"min_free_bytes": least},
        retention={"low_free_bytes": 0},  # else a small disk loses what is confirmed, as it should
        series={"quiet_period_s": 1.0, "min_slices": SLICES},
        delivery={"first_retry_s": 1.0, "longest_retry_s": 1.0, "confirm_within_s": 2.0},
    )


@dataclass(frozen=True)
class Outcome:
    """What was left when nothing moved any more.

    Attributes
    ----------
    finished
        Whether the PACS has confirmed both results.
    killed
        How many processes were.
    exits
        Exit statuses of processes that ended otherwise.
    uids
        SOP Instance UIDs of the study at the PACS.
    lost
        Acknowledged instances that the node does not have, whole, in files and ledger.
    stored
        How often a result's data set went to the PACS.
    measured, generations
        How often the series was measured, and how many generations the study had.
    trace
        Names of the points, in their order.
    """

    finished: bool
    killed: int
    exits: tuple[int, ...]
    uids: frozenset[str]
    lost: frozenset[str]
    stored: int
    measured: int
    generations: int
    trace: tuple[str, ...]


def write_series(folder: Path) -> list[Path]:
    array = np.random.default_rng(1).integers(-1000, 1500, (SLICES, 48, 48)).astype(np.int16)
    volume = hd.Volume(array, np.diag([1.0, 1.0, 1.0, 1.0])[:, [2, 1, 0, 3]], "PATIENT")
    return write_ct_series(volume, folder, Scan(study_instance_uid=STUDY))


def run(
    forge: Forge,
    folder: Path,
    pacs: Orthanc,
    files: Sequence[Path],
    deeds: Mapping[str, str] | None = None,
    *,
    state: Path | None = None,
    kind: type[ForgedNode] = ForgedNode,
    least: int = 0,
) -> Outcome:
    """Send the series, again and again what was not acknowledged, and wait until the PACS has confirmed the results.

    Parameters
    ----------
    deeds
        What befalls the processes at which point, once: see forge.py.
    state
        State folder, by default in ``folder``; both are emptied before.
    kind, least
        Of node, and its watermark in bytes.
    """
    state = state or folder / "state"
    for path in (folder, state):
        shutil.rmtree(path, ignore_errors=True)
    folder.mkdir(parents=True)
    pacs.forget(STUDY)
    with closing(kind(forge, folder, settings_of(pacs, state, least), deeds)) as node:
        acknowledged = send_acknowledged(node, files, pacs.node_port)
        config = load(node.config)
        with closing(_open_ledger(node, state)) as ledger:
            finished = settled(node, ledger)
            inbox = layout.open_inbox(config, ledger)
            generations = len(ledger.generations(STUDY))
            known = {entry.sop_uid for entry in ledger.instances(STUDY) if inbox.is_whole(entry)}
    names = node.names()
    return Outcome(
        finished,
        sum(status == -signal.SIGKILL for status in node.exits),
        tuple(status for status in node.exits if status != -signal.SIGKILL),
        pacs.uids(STUDY),
        frozenset(acknowledged - known),
        sum(" before | send C-STORE-RQ, data set " in name for name in names),
        node.log.read_text().count('"Outlining"'),
        generations,
        tuple(names),
    )


def _open_ledger(node: ForgedNode, state: Path) -> Ledger:
    while True:
        node.revive()
        try:
            return layout.open_ledger(state)
        except StorageError:  # of a full disk
            time.sleep(0.1)


def settled(node: ForgedNode, ledger: Ledger) -> bool:
    """Wait until both results are delivered and no point has been passed for a while."""
    passed, start = -1, time.monotonic()
    since = start
    while (now := time.monotonic()) < min(since + PATIENCE_S, start + IN_ALL_S):
        node.revive()
        if (names := len(node.names())) != passed:
            passed, since = names, now
        done = ledger.generations(STUDY, [State.DONE]) and len(ledger.deliveries(STUDY, [DeliveryState.CONFIRMED])) == 2
        if done and now - since > STILL_S:
            return True
        time.sleep(0.1)
    return False


def send_acknowledged(node: ForgedNode, files: Sequence[Path], port: int) -> set[str]:
    """Send as a modality does; what was acknowledged is never sent again."""
    there = Destination(name="node", ae_title="NEGVOL", host="127.0.0.1", port=port, calling_ae_title="MODALITY")
    patience = Config(limits=Limits(network_timeout_s=10, association_timeout_s=10))
    left = {str(dcmread(path, stop_before_pixels=True).SOPInstanceUID): path for path in files}
    acknowledged: set[str] = set()

    def taken(sent: Sent) -> None:
        assert sent.status == 0x0000
        acknowledged.add(sent.sop_uid)
        del left[sent.sop_uid]

    deadline = time.monotonic() + IN_ALL_S
    while left:
        node.revive()
        try:
            send(list(left.values()), there, patience, taken)
        except NetworkError as error:
            assert time.monotonic() < deadline, error
            time.sleep(0.05)
    return acknowledged


def resumed(runs: Path, name: str, deed: str, make: Callable[[], Outcome]) -> Outcome:
    """Make a run and keep its outcome in a file, or take it from there: a sweep that was interrupted goes on."""
    lines = map(json.loads, runs.read_text().splitlines()) if runs.exists() else ()
    for line in lines:
        if line["run"] == [name, deed]:
            frozen = {key: frozenset(line["outcome"][key]) for key in ("uids", "lost")}
            listed = {key: tuple(line["outcome"][key]) for key in ("exits", "trace")}
            return Outcome(**line["outcome"] | frozen | listed)
    outcome = make()
    with runs.open("a", encoding="utf-8") as file:
        file.write(json.dumps({"run": [name, deed], "outcome": asdict(outcome)}, default=sorted) + "\n")
    return outcome


def table(outcomes: Mapping[tuple[str, str], Outcome], undisturbed: Outcome) -> str:
    """Points of one place in the code in one row: how many runs there were of each deed, and how they ended."""
    rows: dict[tuple[str, str], list[tuple[str, str, Outcome]]] = {}
    for (name, deed), outcome in outcomes.items():
        role, _, what, _ = name.split(" | ")
        for key in ((role, what), ("all", "")):
            rows.setdefault(key, []).append((name, deed, outcome))
    deeds = list(dict.fromkeys(deed for _, deed in outcomes))
    titles = ("process", "at", *deeds, "not reached", "exit codes", "not finished", "lost", "twice")
    titles += ("sent again", "measured again")
    lines = [f"| {' | '.join(titles)} |", "|" + "---|" * len(titles)]
    for (role, what), found in sorted(rows.items(), key=lambda row: row[0][0] == "all"):
        ended = [outcome for *_, outcome in found]
        cells = (
            *(sum(deed == own for _, own, _ in found) for deed in deeds),
            sum(name not in outcome.trace for name, _, outcome in found),
            " ".join(map(str, sorted({code for outcome in ended for code in outcome.exits}))) or "–",
            sum(not outcome.finished for outcome in ended),
            sum(len(outcome.lost) + len(undisturbed.uids - outcome.uids) for outcome in ended),
            sum(len(outcome.uids - undisturbed.uids) for outcome in ended),
            sum(outcome.stored > undisturbed.stored for outcome in ended),
            sum(outcome.measured > undisturbed.measured for outcome in ended),
        )
        lines.append(f"| {role} | {what} | {' | '.join(map(str, cells))} |")
    return "\n".join(lines) + "\n"
