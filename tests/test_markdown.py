from negvol_pacs.markdown import table


def test_a_table_has_a_rule_under_its_header() -> None:
    assert table(("a", "b"), [("1", "2")]) == ["| a | b |", "| --- | --- |", "| 1 | 2 |"]
