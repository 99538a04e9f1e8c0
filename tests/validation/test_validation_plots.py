"""The pictures are written."""

from matplotlib.image import imread

from negvol_pacs.validation import plots
from negvol_pacs.validation.check import against


def test_pictures(tmp_path):
    checks = [against(("Accuracy", "sphere", "FW", f"{mm} mm"), 18 + mm / 4, 18.0, 0.3, "mm") for mm in (0.3, 0.4, 0.8)]
    plots.convergence(checks, tmp_path / "a.png")
    plots.scatter({"FW, right": [18.0, 18.1, None]}, ["0.3", "0.4", "0.3"], "head", tmp_path / "b.png")
    for name in ("a.png", "b.png"):
        assert imread(tmp_path / name)[..., :3].std() > 0.02
