"""A node and a PACS for each test, and CT series to send."""

import highdicom as hd
import numpy as np
import pytest
from node_process import Node, Pacs

from negvol_pacs import log
from negvol_pacs.training.ct_series import Scan, write_ct_series


@pytest.fixture(autouse=True)
def _the_log_is_left_alone(monkeypatch):
    """``negvol serve``, where a test calls it in this process, sets up no log that outlives the test."""
    monkeypatch.setattr(log, "configure", lambda _settings: None)


@pytest.fixture
def pacs():
    pacs = Pacs()
    yield pacs
    pacs.stop()


@pytest.fixture
def node(tmp_path, pacs):
    node = Node(tmp_path, pacs.port)
    yield node
    node.stop()


@pytest.fixture
def make_ct(tmp_path):
    """Write a small CT series of noise; returns its folder."""

    def make(name="ct", spacing=1.0, slices=48, first=0, study="1.2.826.0.1.3680043.8.498.7"):
        array = np.random.default_rng(1).integers(-1000, 1500, (64, 48, 48)).astype(np.int16)
        affine = np.diag([1.0, 1.0, spacing, 1.0])[:, [2, 1, 0, 3]]
        volume = hd.Volume(array, affine, "PATIENT")
        write_ct_series(volume, tmp_path / f"all-{name}", Scan(study_instance_uid=study))
        folder = tmp_path / name
        folder.mkdir()
        for path in sorted((tmp_path / f"all-{name}").iterdir())[first : first + slices]:
            path.rename(folder / path.name)
        return folder

    return make
