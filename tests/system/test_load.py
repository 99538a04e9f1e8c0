"""Many senders at once, and many studies for long: every instance accounted for, and nothing grows.

NEGVOL_LOAD=full pytest tests/system/test_load.py -k senders     # 20 senders with 5 series each
NEGVOL_SOAK=soak.png pytest tests/system/test_load.py -k soak    # NEGVOL_SOAK_MINUTES, by default 30
"""

import os
import socket
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import highdicom as hd
import numpy as np
import pytest
from forged_node import Forge, ForgedNode
from kill_run import settings_of
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from node_settings import node_settings
from peers import Orthanc, free_port, need, running, wait_for
from pydicom import dcmread
from served_node import NEGVOL

from negvol_pacs.config import load
from negvol_pacs.storage.records import DeliveryState, State
from negvol_pacs.training.ct_series import Scan, write_ct_series
from negvol_pacs.workflow import layout

pytestmark = pytest.mark.system

SENDERS, SERIES, SLICES = (20, 5, 8) if os.environ.get("NEGVOL_LOAD") == "full" else (12, 2, 5)
PLOT, MINUTES = os.environ.get("NEGVOL_SOAK"), float(os.environ.get("NEGVOL_SOAK_MINUTES", "30"))
PATIENCE_S = 600
RESOURCES = ("resident memory, MiB", "file descriptors", "threads")
Sample = tuple[float, ...]
"""Minutes, and the resources."""


def write_study(folder: Path, study: str, series: int, slices: int) -> Path:
    for number in range(series):
        array = np.random.default_rng(number).integers(-1000, 1500, (slices, 48, 48)).astype(np.int16)
        volume = hd.Volume(array, np.diag([1.0, 1.0, 1.0, 1.0])[:, [2, 1, 0, 3]], "PATIENT")
        write_ct_series(volume, folder / str(number), Scan(study_instance_uid=study, series_number=number))
    return folder


def storescu(folder: Path, port: int) -> int:
    """Send a folder as a modality does: again, when the node is busy. Return how often."""
    command = ["storescu", "-R", "-aet", "MODALITY", "-aec", "NEGVOL", "127.0.0.1", str(port), "+sd", "+r", str(folder)]
    environment = os.environ | {"TCP_NODELAY": "1"}
    for times in range(1, 1000):
        if subprocess.run(command, capture_output=True, check=False, env=environment).returncode == 0:
            return times
        time.sleep(0.2)
    raise AssertionError(f"{folder} is never taken")


@pytest.mark.timeout(1800)
@pytest.mark.usefixtures("loopback_only")
def test_every_instance_of_many_senders_is_there(tmp_path: Path) -> None:
    """With the usual limits, so that some are turned away and come again."""
    need("storescu")
    studies = {f"1.2.826.0.1.3680043.8.498.20.{number}": tmp_path / f"sender{number}" for number in range(SENDERS)}
    sent = {}
    for study, folder in studies.items():
        for path in write_study(folder, study, SERIES, SLICES).rglob("*.dcm"):
            ds = dcmread(path)
            sent[str(ds.SOPInstanceUID)] = ds.PixelData
    assert len(sent) == SENDERS * SERIES * SLICES
    file = tmp_path / "config.toml"
    file.write_text(node_settings(tmp_path / "state", free_port(), ["MODALITY"]))
    config = load(file)
    log = tmp_path / "node.log"
    with (
        running([*NEGVOL, "serve", "--only", "receiver", "--config", str(file)], log),
        ThreadPoolExecutor(SENDERS) as pool,
    ):
        wait_for(lambda: "receiver-ready" in log.read_text(), 60, "the receiver is ready")
        started = time.monotonic()
        times = sum(pool.map(lambda folder: storescu(folder, config.node.port), studies.values()))
        seconds = time.monotonic() - started
    print(f"{len(sent)} instances of {SENDERS} senders in {seconds:.1f} s, {times - SENDERS} times turned away")
    with closing(layout.open_ledger(config.node.state)) as ledger:
        inbox = layout.open_inbox(config, ledger)
        kept = {entry.sop_uid: entry for study in studies for entry in ledger.instances(study)}
        assert kept.keys() == sent.keys()
        assert all(dcmread(inbox.path(entry)).PixelData == sent[uid] for uid, entry in kept.items())
        assert {entry.generation for entry in kept.values()} == {1}
    files = {path for path in (config.node.state / "inbox").rglob("*") if path.is_file()}
    assert files == {inbox.path(entry) for entry in kept.values()}


def resources(pid: int) -> tuple[float, int, int]:
    """Resident memory in MiB, file descriptors and threads of a process."""
    status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return int(status["VmRSS"].split()[0]) / 1024, len(list(Path(f"/proc/{pid}/fd").iterdir())), int(status["Threads"])


def break_off(port: int) -> None:
    """Begin an association and go away in the middle of its request."""
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(b"\x01\0\0\0\1\0\0\1")


def grown(samples: list[Sample]) -> tuple[float, ...]:
    """What each resource has grown by from the second third of the time to the last."""
    table = np.array(samples)
    third = np.ceil(3 * table[:, 0] / table[-1, 0])
    return tuple((np.median(table[third == 3], axis=0) - np.median(table[third == 2], axis=0))[1:].tolist())


def draw(samples: dict[str, list[Sample]], path: Path, title: str) -> None:
    figure = Figure(figsize=(10, 3.2), layout="constrained")
    figure.suptitle(title)
    for column, (axes, name) in enumerate(zip(figure.subplots(1, 3), RESOURCES, strict=True), start=1):
        for role, rows in samples.items():
            axes.plot([row[0] for row in rows], [row[column] for row in rows], label=role)
        axes.set(title=name, xlabel="minutes", ylim=(0, None))
        axes.legend(loc="lower right")
    FigureCanvasAgg(figure).print_png(str(path))


@pytest.fixture
def soaked(forge: Forge, orthanc: Orthanc, tmp_path: Path) -> Iterator[ForgedNode]:
    settings = settings_of(orthanc, tmp_path / "state")
    with closing(ForgedNode(forge, tmp_path, settings)) as node:
        wait_for(lambda: node.logged("receiver-ready") and node.logged("worker-ready"), 60, "the node is ready")
        yield node


@pytest.mark.skipif(PLOT is None, reason="takes half an hour: set NEGVOL_SOAK to the picture to draw")
@pytest.mark.timeout(6 * 3600)
def test_soak(soaked: ForgedNode, orthanc: Orthanc, tmp_path: Path) -> None:
    """Study after study, sent, measured (by the stand-in), delivered and confirmed; and peers that break off."""
    samples: dict[str, list[Sample]] = {role: [] for role in soaked.pids}
    pids = dict(soaked.pids)
    started, number = time.monotonic(), 0
    with closing(layout.open_ledger(tmp_path / "state")) as ledger:

        def waiting() -> int:
            return len(ledger.generations(states=[State.RECEIVING, State.COMPLETE, State.PROCESSING]))

        def confirmed() -> int:
            return len(ledger.deliveries(states=[DeliveryState.CONFIRMED]))

        while (now := time.monotonic() - started) < 60 * MINUTES:
            number += 1
            study = f"1.2.826.0.1.3680043.8.498.30.{number}"
            folder = write_study(tmp_path / "ct" / str(number), study, 1, 3)
            storescu(folder, orthanc.node_port)
            if number % 2:
                break_off(orthanc.node_port)
            for role, pid in soaked.pids.items():
                samples[role].append((now / 60, *resources(pid)))
            wait_for(lambda: waiting() <= 5, PATIENCE_S, "the node keeps up")
        wait_for(lambda: waiting() == 0, PATIENCE_S, "all studies are measured")
        wait_for(lambda: confirmed() == 2 * number, PATIENCE_S, "all is delivered")
        assert len(ledger.generations(states=[State.DONE])) == number
    assert pids == soaked.pids and all(Path(f"/proc/{pid}").exists() for pid in pids.values()), "one has ended"
    draw(samples, Path(str(PLOT)), f"{number} studies in {MINUTES:g} minutes")
    for role, rows in samples.items():
        mebibytes, descriptors, threads = grown(rows)
        print(f"{role}: {mebibytes:+.1f} MiB of {rows[-1][1]:.0f}, {descriptors:+g} descriptors, {threads:+g} threads")
        assert mebibytes < 0.1 * rows[-1][1]
        assert descriptors <= 5  # idle connections come and go
        assert threads <= 2
