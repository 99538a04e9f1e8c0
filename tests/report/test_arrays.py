"""The arrays of widths hold both joints."""

from dataclasses import replace

import numpy as np
from two_joints import CENTRES

from negvol_pacs.anatomy import Side
from negvol_pacs.joint.widths import WidthMap
from negvol_pacs.report.arrays import save_widths


def with_widths(findings, sides):
    joints = dict(findings.joints)
    for number, side in enumerate(sides, start=2):
        points = CENTRES[side] + np.eye(3)[: number % 4]
        joints[side] = replace(
            joints[side], widths=WidthMap(points, np.arange(len(points)) + 1.5, np.ones(len(points)))
        )
    return replace(findings, joints=joints)


def test_both_sides_come_back(make_case, tmp_path):
    findings = with_widths(make_case().findings, (Side.RIGHT, Side.LEFT))
    save_widths(findings, tmp_path / "widths.npz")
    save_widths(findings, tmp_path / "again.npz")
    assert (tmp_path / "widths.npz").read_bytes() == (tmp_path / "again.npz").read_bytes()
    read = np.load(tmp_path / "widths.npz")
    assert read["side"].tolist() == ["right"] * 2 + ["left"] * 3
    assert (read["vertices"][read["side"] == "right", 0] < 0).all()  # LPS
    np.testing.assert_array_equal(read["vertices"][2:], findings.joints[Side.LEFT].widths.vertices)
    assert read["width"].tolist() == [1.5, 2.5, 1.5, 2.5, 3.5]
    assert read["area"].sum() == 5


def test_a_joint_without_a_map_adds_nothing(make_case, tmp_path):
    save_widths(with_widths(make_case().findings, (Side.LEFT,)), tmp_path / "widths.npz")
    assert set(np.load(tmp_path / "widths.npz")["side"]) == {"left"}
    save_widths(make_case().findings, tmp_path / "none.npz")
    read = np.load(tmp_path / "none.npz")
    assert read["vertices"].shape == (0, 3)
    assert read["width"].shape == read["area"].shape == read["side"].shape == (0,)
