"""From CT files through gate and reader to a SEG that lies where the joints are."""

import highdicom as hd
import numpy as np
import pytest
from test_seg import centroids, expected_centroids
from two_joints import grid

from negvol_pacs.anatomy import Side, Structure
from negvol_pacs.config import SeriesRules
from negvol_pacs.report.labels import ORDER
from negvol_pacs.report.seg import build_seg
from negvol_pacs.report.sr import build_sr
from negvol_pacs.series.gate import check
from negvol_pacs.series.reader import read_volume
from negvol_pacs.series.selection import read_headers
from negvol_pacs.training.ct_series import write_ct_series


@pytest.mark.parametrize("enhanced", [False, True], ids=["single-frame", "enhanced"])
@pytest.mark.parametrize("kind", ["flipped", "oblique", "sagittal"])
def test_results_fit_the_series_that_was_read(make_case, algorithm, now, tmp_path, validate, kind, enhanced):
    case = make_case(kind)
    affine, shape = grid(kind)
    paths = write_ct_series(
        hd.Volume(np.full(shape, 40, dtype=np.int16), affine, "PATIENT"), tmp_path / "ct", enhanced=enhanced
    )
    (found,) = read_headers(reversed(paths))
    series = check(found, SeriesRules(min_slices=20)).series
    geometry = read_volume(series)
    seg = build_seg(series, geometry, case.masks, case.findings, algorithm, now)
    seg.save_as(tmp_path / "seg.dcm")
    assert validate(tmp_path / "seg.dcm") == ["Segmentation"]
    placed = centroids(tmp_path / "seg.dcm")
    assert set(placed) == set(ORDER)
    for key, expected in expected_centroids(case).items():
        assert np.linalg.norm(placed[key] - expected) < 0.5, key
    assert all(placed[Side.RIGHT, s][0] < 0 < placed[Side.LEFT, s][0] for s in Structure)
    sr = build_sr(series, case.findings, seg, algorithm, now)
    sr.save_as(tmp_path / "sr.dcm")
    assert validate(tmp_path / "sr.dcm") == ["Comprehensive3DSR"]
    assert sr.StudyInstanceUID == seg.StudyInstanceUID == series.study_instance_uid
