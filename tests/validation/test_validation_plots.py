"""The pictures are written."""

from matplotlib.image import imread

from negvol_pacs.joint.findings import Measurement
from negvol_pacs.validation import plots
from negvol_pacs.validation.check import against
from negvol_pacs.validation.poses import poses
from negvol_pacs.validation.reposing import KEYS, LIMITS, Study


def test_pictures(tmp_path):
    checks = [against(("Accuracy", "sphere", "FW", f"{mm} mm"), 18 + mm / 4, 18.0, 0.3, "mm") for mm in (0.3, 0.4, 0.8)]
    plots.convergence(checks, tmp_path / "a.png")
    drawn = poses(3)
    rows = [
        {key: Measurement(key[0], None if pose.thick else 18.0 + pose.spacing_mm) for key in KEYS} for pose in drawn
    ]
    plots.reposing(Study("head", drawn, rows, LIMITS), tmp_path / "b.png")
    for name in ("a.png", "b.png"):
        assert imread(tmp_path / name)[..., :3].std() > 0.02
