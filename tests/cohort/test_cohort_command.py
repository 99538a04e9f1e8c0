"""``negvol cohort`` on a folder: table and pictures."""

import pandas as pd
import pytest
from invented_reports import head, invent, report, save, write_cohort
from matplotlib.image import imread
from typer.testing import CliRunner

from negvol_pacs.cli import app

PICTURES = ("correlation.png", "asymmetry.png", "repeats.png")


def run(*arguments):
    return CliRunner().invoke(app, ["cohort", *map(str, arguments)])


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cohort")
    write_cohort(folder / "reports", patients=9, repeats=3)
    done = run(folder / "reports", "--out", folder / "out")
    assert done.exit_code == 0, done.output
    return folder / "out", done.output


def test_the_table_has_every_study(cohort):
    table = pd.read_parquet(cohort[0] / "cohort.parquet")
    assert sorted(table["accession_number"]) == [f"A-{n}" for n in range(9)] + [f"B-{n}" for n in range(3)]
    read = pd.read_csv(cohort[0] / "cohort.csv")
    pd.testing.assert_series_equal(read["left_NV_AREA_mm2"], table["left_NV_AREA_mm2"])
    assert table["right_FW_mm"].isna().sum() == 1


def test_outliers_and_what_is_left_out_are_named(cohort):
    assert "outliers: A-3" in cohort[1]
    assert "12 reports" in cohort[1]
    assert "1 of 191 numbers are flagged and not drawn" in cohort[1]


@pytest.mark.parametrize("name", PICTURES)
def test_pictures_show_something(cohort, name):
    picture = imread(cohort[0] / name)
    assert picture.shape[0] > 300 and picture[..., :3].std() > 0.05


def test_one_report_has_a_table_and_no_correlation(tmp_path):
    save(report(head(), invent()), tmp_path / "in")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "correlation.png").write_bytes(b"of a former run")
    done = run(tmp_path / "in", "--out", tmp_path / "out")
    assert done.exit_code == 0, done.output
    assert "too few studies for correlations" in done.output and "no repeated scans" in done.output
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "asymmetry.png",
        "cohort.csv",
        "cohort.parquet",
    ]


@pytest.mark.parametrize("source", ["empty", "nowhere"])
def test_no_reports_and_no_source_are_said(tmp_path, source):
    (tmp_path / "empty").mkdir()
    done = run(tmp_path / source, "--out", tmp_path / "out", "--config", tmp_path / "none.toml")
    assert done.exit_code != 0
    assert str(done.exception).startswith(
        "There is no report" if source == "empty" else f"{tmp_path / source} is no folder and no destination"
    )
