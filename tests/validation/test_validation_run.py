"""Which heads are re-posed, and where their numbers go."""

import json

import pytest

from negvol_pacs.joint.findings import Measurement
from negvol_pacs.validation import accuracy, agreement, asymmetry, plots, reposing, run, severity, solidity, subvoxel
from negvol_pacs.validation.poses import poses


@pytest.fixture
def stand_ins(monkeypatch):
    """Nothing is measured: each study has the same number everywhere."""

    def study(name, findings, count, limits=reposing.LIMITS, progress=print):
        rows = [{key: Measurement(key[0], 2.0) for key in reposing.KEYS}] * count
        return reposing.Study(name, poses(count), rows, limits)

    class Head:
        labels = "labels"
        masks = scan = None

        def __init__(self, *_):
            pass

    monkeypatch.setattr(reposing, "run", study)
    monkeypatch.setattr(run, "phantom", Head)
    monkeypatch.setattr(run, "PaintedHead", Head)
    monkeypatch.setattr(run.LabelledHead, "of_patient", Head)
    monkeypatch.setattr(run.LabelledHead, "of_phantom", Head)
    monkeypatch.setattr(run, "load_networks", lambda: None)
    monkeypatch.setattr(accuracy, "run", lambda *_: [])
    monkeypatch.setattr(accuracy, "joints", dict)
    monkeypatch.setattr(asymmetry, "run", lambda **_: ([], {}))
    monkeypatch.setattr(solidity, "run", lambda **_: [])
    monkeypatch.setattr(subvoxel, "run", lambda **_: ([], {}))
    monkeypatch.setattr(severity, "run", lambda **_: ([], []))
    monkeypatch.setattr(agreement, "mirrored", None)
    for picture in ("convergence", "reposing"):
        monkeypatch.setattr(plots, picture, lambda _, path: path.touch())


def studies(folder, extent):
    return [study() for _, study in run.Plan(folder, extent, print).studies()]


def test_heads_that_are_re_posed(stand_ins, tmp_path):
    assert [study.name for study in studies(tmp_path, run.Extent())] == ["Analytic head, true masks"]
    every = studies(tmp_path, run.Extent(labels=tmp_path, pipeline=True, poses=3))
    assert [study.name for study in every] == [
        "Analytic head, true masks",
        "Label map, true masks",
        "Synthetic head, true masks",
        "Synthetic head, painted CT",
    ]
    assert all(len(study.rows) == 3 for study in every)
    assert [study.limits is reposing.LIMITS for study in every] == [True, True, True, False]
    assert every[-1].limits is reposing.PAINTED_LIMITS


def test_report_has_tables_pictures_and_every_pose(stand_ins, tmp_path):
    checks, path = run.everything(tmp_path, run.Extent(pipeline=True, poses=2))
    text = path.read_text()
    assert len(checks) == 3 * 12
    assert text.index("## Re-posing") < text.index("### Analytic head") < text.index("### Synthetic head, painted CT")
    assert all((tmp_path / f"reposing-{n}.png").exists() and f"(reposing-{n}.png)" in text for n in (1, 2, 3))
    rows = json.loads((tmp_path / "reposing-3.json").read_text())
    assert len(rows) == 2
    assert rows[-1]["values"]["H_LR"] == 2.0


def test_interrupted_run_goes_on(stand_ins, tmp_path, monkeypatch):
    class Interrupted(Exception):
        pass

    def stop(**_):
        raise Interrupted

    extent = run.Extent(pipeline=True, poses=2)
    whole = run.everything(tmp_path / "whole", extent)[1].read_text()
    with monkeypatch.context() as broken:
        broken.setattr(severity, "run", stop)
        with pytest.raises(Interrupted):
            run.everything(tmp_path / "parts", extent)
    with monkeypatch.context() as measured:
        measured.setattr(reposing, "run", None)
        assert run.everything(tmp_path / "parts", extent, resume=True)[1].read_text() == whole
        with pytest.raises(TypeError):
            run.everything(tmp_path / "parts", extent)


def test_parts_of_another_run_are_made_anew(stand_ins, tmp_path):
    run.everything(tmp_path, run.Extent(poses=2))
    run.everything(tmp_path, run.Extent(poses=3, pipeline=True), resume=True)
    assert len(json.loads((tmp_path / "reposing-1.json").read_text())) == 3


def test_quick_run_has_no_poses(stand_ins, tmp_path):
    run.everything(tmp_path, run.Extent(quick=True, pipeline=True))
    assert not list(tmp_path.glob("reposing*"))
