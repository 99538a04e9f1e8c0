"""Names and passwords in a file that a person writes."""

import pytest

from negvol_pacs.errors import ConfigError
from negvol_pacs.web import passwords
from negvol_pacs.web.passwords import Users, line

GOOD, OTHER = "correct horse battery", "another long password"


@pytest.fixture(autouse=True)
def hashes(monkeypatch):
    """Count the hashes, and make them cheap."""
    made, plain = [], passwords._hash
    monkeypatch.setitem(passwords._COST, "n", 2)
    monkeypatch.setattr(passwords, "_hash", lambda *values: made.append(values) or plain(*values))
    return made


@pytest.fixture
def users(hashes, tmp_path):
    path = tmp_path / "users"
    path.write_text(f"# who may look\n\n{line('anna', GOOD)}\n{line('berta', OTHER)}\n")
    hashes.clear()
    return Users(path)


def test_the_right_password_of_the_right_user_is_admitted(users):
    users.require()
    assert users.admits("anna", GOOD)
    assert users.admits("berta", OTHER)
    for name, password in [("anna", OTHER), ("anna", ""), ("berta", GOOD), ("carla", GOOD), ("", ""), ("# who", "")]:
        assert not users.admits(name, password)


def test_two_lines_for_the_same_password_differ_and_do_not_hold_it():
    one, two = line("anna", GOOD), line("anna", GOOD)
    assert one != two
    assert GOOD not in one


def test_an_unknown_name_costs_as_much_as_a_known_one(users, hashes):
    users.admits("anna", OTHER)
    users.admits("carla", OTHER)
    assert len(hashes) == 2


def test_the_right_password_is_hashed_once_wrong_ones_each_time(users, hashes):
    for _ in range(3):
        assert users.admits("anna", GOOD)
    assert len(hashes) == 1
    for _ in range(3):
        assert not users.admits("anna", "x")
    assert len(hashes) == 4


def test_a_change_of_the_file_counts_at_once(users):
    assert users.admits("anna", GOOD)
    users._path.write_text(line("anna", OTHER))
    assert not users.admits("anna", GOOD)
    assert users.admits("anna", OTHER)
    users._path.unlink()
    assert not users.admits("anna", OTHER)


@pytest.mark.parametrize("text", ["", "# nobody\n", "anna\n", "anna:plain\n", "anna:!!:!!\n", "änne:eA==:eA==\n"])
def test_a_file_without_users_or_with_a_bad_line_is_refused(tmp_path, text):
    path = tmp_path / "users"
    path.write_text(text)
    with pytest.raises(ConfigError, match="users"):
        Users(path).require()
    assert not Users(path).admits("anna", "plain")


def test_a_file_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="cannot be used"):
        Users(tmp_path / "none").require()


@pytest.mark.parametrize(("name", "password"), [("a:b", GOOD), ("", GOOD), ("a\nb", GOOD), ("anna", "short")])
def test_bad_names_and_short_passwords_make_no_line(name, password):
    with pytest.raises(ConfigError):
        line(name, password)
