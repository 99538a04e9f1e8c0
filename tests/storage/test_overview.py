"""How studies stand, counted by the database of a real ledger."""

from contextlib import closing
from dataclasses import replace

import pytest
from made_state import Books, uid

from negvol_pacs.storage.overview import Standing
from negvol_pacs.storage.records import DeliveryState, State


def test_lists_have_pages(tmp_path):
    with closing(Books(tmp_path)) as books:
        for number_ in range(7):
            books.study(number_, State.REFUSED, images=1)
        found = [stand.study_uid for page in (0, 3, 6) for stand in books.ledger.overview.studies(limit=3, offset=page)]
        assert sorted(found) == sorted(uid(number_) for number_ in range(7))
        assert books.ledger.overview.studies([Standing.DELIVERED]) == []


def test_the_same_result_of_two_generations_is_delivered_once(tmp_path):
    with closing(Books(tmp_path)) as books:
        books.measured(1, DeliveryState.CONFIRMED)
        (sr,) = (result for result in books.ledger.results(uid(1)) if result.sop_uid)
        books.ledger.record_results([replace(sr, generation=2)], ["archive"])
        stand = books.ledger.overview.study(uid(1))
        assert (stand.planned, stand.confirmed, stand.standing) == (1, 1, Standing.DELIVERED)


@pytest.mark.parametrize(
    ("state", "standing"),
    [
        (State.RECEIVING, Standing.RECEIVED),
        (State.COMPLETE, Standing.WAITING),
        (State.PROCESSING, Standing.COMPUTING),
        (State.REFUSED, Standing.REFUSED),
        (State.FAILED, Standing.NEEDS_PERSON),
        (State.CANCELLED, Standing.CANCELLED),
        (State.DONE, Standing.KEPT),
    ],
)
def test_a_study_stands_as_its_latest_generation(tmp_path, state, standing):
    with closing(Books(tmp_path)) as books:
        books.study(1, state, images=1)
        assert books.ledger.overview.counts() == {each: int(each is standing) for each in Standing}
        active = state in (State.RECEIVING, State.COMPLETE, State.PROCESSING)
        assert (books.ledger.overview.oldest_active() is not None) == active


@pytest.mark.parametrize("state", DeliveryState)
def test_a_measured_study_stands_as_its_deliveries(tmp_path, state):
    expected = {DeliveryState.CONFIRMED: Standing.DELIVERED, DeliveryState.NEEDS_PERSON: Standing.NEEDS_PERSON}
    with closing(Books(tmp_path)) as books:
        books.measured(1, state)
        assert books.ledger.overview.study(uid(1)).standing is expected.get(state, Standing.DELIVERING)
        assert books.ledger.overview.deliveries() == {"archive": {each: int(each is state) for each in DeliveryState}}
