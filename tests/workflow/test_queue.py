"""``negvol queue`` names what needs a person, and takes it up again, one study or all."""

from contextlib import closing

import pytest
from test_steps import RESULT, STUDY, Books
from typer.testing import CliRunner

from negvol_pacs.commands import queue
from negvol_pacs.storage.records import DeliveryState, State
from negvol_pacs.workflow.engine import Jobs, migrate


@pytest.fixture
def books(tmp_path):
    migrate(tmp_path / "state")
    with closing(Books(tmp_path / "state", series={"quiet_period_s": 0})) as books:
        yield books


@pytest.fixture
def run(tmp_path, monkeypatch):
    config = tmp_path / "config.toml"
    config.write_text(f'[node]\nstate = "{tmp_path}/state"\n')
    monkeypatch.setenv("NEGVOL_CONFIG", str(config))
    monkeypatch.setattr("negvol_pacs.commands.console.out.width", 400)
    return lambda *words: CliRunner().invoke(queue.app, words)


def given_up(books, make_ct):
    """A study that is done, and whose report no destination would take for a day."""
    books.receive(make_ct(slices=2))
    books.steps.close(STUDY)
    books.result()
    books.ledger.set_state(STUDY, 1, State.DONE)
    books.ledger.record_attempt(RESULT, "pacs", DeliveryState.NEEDS_PERSON, "pacs cannot be reached")


def jobs_of(books):
    with closing(Jobs(books.config.node.state)) as jobs:
        return [workflow.name for workflow in jobs._client.list_workflows()]


def test_a_delivery_that_was_given_up_is_named_with_the_command_that_takes_it_up(books, make_ct, run):
    given_up(books, make_ct)
    listed = run("list").stdout
    assert (
        f"SR to pacs needs a person after 1 attempts: pacs cannot be reached. Then: negvol queue retry {STUDY}"
        in listed
    )
    assert f"{RESULT} will be sent again to pacs" in run("retry", STUDY).stdout
    assert (books.delivery().state, books.delivery().attempts) == (DeliveryState.PENDING, 0)
    assert "needs a person" not in run("list").stdout
    assert jobs_of(books) == ["delivery"]


def test_all_that_needs_a_person_is_taken_up_at_once_and_nothing_else(books, make_ct, run):
    given_up(books, make_ct)
    for study, state in (("1.2.8", State.FAILED), ("1.2.9", State.REFUSED)):
        books.receive(make_ct(study, slices=2, study=study))
        books.steps.close(study)
        books.ledger.set_state(study, 1, state)
    told = run("retry", "--all").stdout
    assert f"{RESULT} will be sent again" in told and "1.2.8\ngeneration 1 will be analysed again" in told
    assert "1.2.9" not in told
    assert books.ledger.generation("1.2.8").state is State.COMPLETE
    assert books.ledger.generation("1.2.9").state is State.REFUSED
    assert sorted(jobs_of(books)) == ["delivery", "study"]


@pytest.mark.parametrize("words", [["retry"], ["retry", STUDY, "--all"]])
def test_a_study_or_all(books, run, words):
    assert run(*words).exit_code == 2


def test_a_study_whose_images_were_removed_must_be_sent_again(books, make_ct, run):
    books.receive(make_ct(slices=2))
    books.steps.close(STUDY)
    books.ledger.set_state(STUDY, 1, State.REFUSED)
    (settled,) = books.ledger.removals.settled()
    assert books.ledger.removals.remove(settled, "after 0 days")
    assert "2 images removed" in run("show", STUDY).stdout
    done = run("retry", STUDY)
    assert done.exit_code == 1 and books.generation().state is State.REFUSED
