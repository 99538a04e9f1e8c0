"""The table of threats in docs/security.md names the tests that are there, and every threat has some."""

import ast
import re
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).parents[2]
ROWS = 21


def marked() -> dict[int, set[tuple[str, str]]]:
    """File and name of the tests of each row."""
    found = defaultdict(set)
    for path in (ROOT / "tests").rglob("test_*.py"):
        if "mark.threat" not in (text := path.read_text()):
            continue
        for function in ast.walk(ast.parse(text)):
            for decorator in getattr(function, "decorator_list", ()):
                if mark := re.fullmatch(r"pytest\.mark\.threat\((\d+)\)", ast.unparse(decorator)):
                    found[int(mark[1])].add((path.name, function.name))
                    arguments = {argument.arg for argument in function.args.args}
                    assert "switch" in arguments, f"{function.name} does not take its defence away"
    return found


def test_the_table_is_true():
    written = {}
    for line in (ROOT / "docs" / "security.md").read_text().splitlines():
        if row := re.match(r"\| (\d+) \|", line):
            parts = line.strip("|").split("|")[3].split("; ")
            files = [re.findall(r"`([^`]+)`", part) for part in parts]
            written[int(row[1])] = {(file, f"test_{name}") for file, *names in files for name in names}
    assert sorted(written) == list(range(1, ROWS + 1))
    assert all(written.values())
    assert written == marked()
