"""``negvol serve`` as a process of its own, and real tools that send to it."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import highdicom as hd
import numpy as np
from node_settings import node_settings
from peers import Orthanc, free_port, need, running, wait_for

from negvol_pacs.anatomy import Side

MANDIBULAR_CONDYLE, RIGHT, LEFT = "67183008", "24028007", "7771000"  # SNOMED CT
NEGVOL = [sys.executable, "-m", "negvol_pacs"]


@dataclass(frozen=True)
class ServedNode:
    """A node that is running."""

    config: Path
    log: Path
    port: int

    def cli(self, *arguments: str) -> str:
        """Run ``negvol`` on this node's configuration; return what it prints."""
        environment = os.environ | {"NEGVOL_CONFIG": str(self.config), "COLUMNS": "400"}
        done = subprocess.run([*NEGVOL, *arguments], capture_output=True, text=True, env=environment, check=True)
        return done.stdout

    def logged(self, *events: str) -> list[dict[str, object]]:
        """Lines of the log that tell of these events."""
        lines = [json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{")]
        return [line for line in lines if line.get("event") in events]

    def send(self, folder: Path) -> None:
        """Send all files of a folder with dcmtk's storescu, from AE title STORESCU."""
        storescu(folder, "NEGVOL", self.port)


def storescu(folder: Path, called: str, port: int) -> None:
    need("storescu")
    command = ["storescu", "-R", "-aet", "STORESCU", "-aec", called, "127.0.0.1", str(port), "+sd", str(folder)]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env=os.environ | {"TCP_NODELAY": "1"}, timeout=120
    )
    assert done.returncode == 0, done.stderr


@contextmanager
def serve(folder: Path, pacs: Orthanc, *, port: int | None = None, coarse: bool = False) -> Iterator[ServedNode]:
    """Run a node whose results go to the PACS; stop it with SIGTERM."""
    folder.mkdir(parents=True, exist_ok=True)
    node = ServedNode(folder / "config.toml", folder / "node.log", port or free_port())
    settings = node_settings(
        folder / "state",
        node.port,
        ["STORESCU", "ORTHANC"],
        pacs,
        series={"quiet_period_s": 2.0, "measure_coarse": coarse},
        delivery={"first_retry_s": 1.0},
        web={"enabled": False},
    )
    node.config.write_text(settings, encoding="utf-8")
    environment = os.environ | {"OMP_NUM_THREADS": "2", "PYTHONUNBUFFERED": "1"}
    with running([*NEGVOL, "serve", "--config", str(node.config)], node.log, env=environment) as process:
        for ready in ("receiver-ready", "worker-ready"):
            wait_for(lambda: node.logged(ready) or process.poll() is not None, 240, ready)  # noqa: B023 - used at once
        assert process.poll() is None, node.log.read_text()
        yield node
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0


def condyle_centroids(seg: hd.seg.Segmentation) -> dict[Side, np.ndarray]:
    """LPS mm of the centroid of each condyle, by the codes alone."""
    volume = seg.get_volume(combine_segments=False)
    found = {}
    for position, number in enumerate(seg.segment_numbers):
        described = seg.get_segment_description(number)
        if described.segmented_property_type.value == MANDIBULAR_CONDYLE:
            (laterality,) = described.SegmentedPropertyTypeCodeSequence[0].SegmentedPropertyTypeModifierCodeSequence
            voxels = np.argwhere(volume.array[..., position])
            side = {RIGHT: Side.RIGHT, LEFT: Side.LEFT}[laterality.CodeValue]
            found[side] = volume.map_indices_to_reference(voxels.mean(axis=0)[None])[0]
    return found
