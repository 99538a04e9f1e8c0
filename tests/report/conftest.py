"""Two synthetic joints on source grids of any orientation, and readers of the objects made of them."""

import re
import shutil
import subprocess
import sys
from datetime import datetime
from pathlib import Path

import highdicom as hd
import numpy as np
import pytest
from two_joints import NOW, Case, grid, make_joint, make_series, make_symmetry

from negvol_pacs.anatomy import Side
from negvol_pacs.joint.findings import Findings, JointMeasurements
from negvol_pacs.quality import QualityFlag
from negvol_pacs.report.algorithm import Algorithm
from negvol_pacs.segmentation.masks import JointMasks


@pytest.fixture(scope="session")
def joints() -> dict[Side, tuple[JointMasks, JointMeasurements]]:
    """Both joints: a ball under a cup, the left ball the larger one."""
    return {side: make_joint(side) for side in Side}


@pytest.fixture
def make_case(joints):
    """Make a series of a kind of grid with both joints found in it."""

    def make(kind: str = "axial", enhanced: bool = False) -> Case:
        affine, shape = grid(kind)
        geometry = hd.Volume(np.zeros(shape, dtype=np.int8), affine, "PATIENT")
        findings = Findings(
            joints={side: joint[1] for side, joint in joints.items()},
            symmetry=make_symmetry(),
            flags=frozenset({QualityFlag.COARSE_SPACING}),
        )
        masks = {side: joint[0] for side, joint in joints.items()}
        return Case(make_series(affine, shape, enhanced), geometry, masks, findings)

    return make


@pytest.fixture(scope="session")
def algorithm() -> Algorithm:
    """The algorithm that made the results under test."""
    return Algorithm("negvol", "0.1.0", "ab" * 32)


@pytest.fixture(scope="session")
def now() -> datetime:
    """A fixed moment."""
    return NOW


_PRIVATE = re.compile(
    r"Warning - Unrecognized defined term <99NEGVOL> for value 1 of attribute <Coding Scheme Designator>"
)


@pytest.fixture
def validate():
    """Run dciodvfy on a file; what it says beside the lines on the private coding scheme."""
    if shutil.which("dciodvfy") is None:
        pytest.skip("dciodvfy is not installed (Debian package dicom3tools)")

    def run(path: Path) -> list[str]:
        done = subprocess.run(["dciodvfy", path], capture_output=True, text=True, check=False)
        lines = (done.stdout + done.stderr).splitlines()
        return [line for line in lines if line.strip() and not _PRIVATE.fullmatch(line.strip())]

    return run


@pytest.fixture
def dcmqi():
    """Run a program of the PyPI package dcmqi."""

    def run(program: str, *arguments: str | Path) -> None:
        done = subprocess.run(
            [Path(sys.executable).parent / program, *arguments], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr

    return run
