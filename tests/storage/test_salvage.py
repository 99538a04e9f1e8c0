"""What is read of a truly damaged database: all rows but those of the damaged pages, and none that is wrong."""

import random
import sqlite3
from collections import Counter
from contextlib import closing
from dataclasses import replace

import pytest
from test_storage_orders import entry, item

from negvol_pacs.errors import DatabaseDamaged
from negvol_pacs.storage import database, schema
from negvol_pacs.storage.commitment_requests import CommitmentRequest
from negvol_pacs.storage.ledger import Ledger
from negvol_pacs.storage.performed import Step, StepState
from negvol_pacs.storage.salvage import carry_over, rows

PAGE, COUNT, KEEP_S = 4096, 200, 1e12
CT = "1.2.840.10008.5.1.4.1.1.2"
REQUESTS = [CommitmentRequest("CT1", f"2.25.{n}", "NEGVOL", "10.1.2.3", {f"1.2.3.{n}": CT}, 5.0) for n in (1, 2, 3)]
STEP = Step("1.2.3.9", "1.2.3", StepState.COMPLETED, ("1.2.3.1", "1.2.3.2"), "CT1", 0.0)


@pytest.fixture
def kept():
    """Orders by their accession number."""
    made = (entry(item(f"A-{number:03}", PatientID=f"P-{number:03}"), whole=False) for number in range(COUNT))
    return {order.accession: order for order in made}


@pytest.fixture
def path(tmp_path, kept):
    """A ledger of several pages of orders."""
    path = tmp_path / "ledger.db"
    with closing(Ledger(f"sqlite:///{path}")) as ledger:
        ledger.orders.record(kept.values(), KEEP_S)
        for request in REQUESTS:
            ledger.commitment_requests.enter(request)
        ledger.performed.enter(STEP)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return path


def carried(path, tmp_path):
    """What a new ledger has afterwards: orders, requests, step."""
    with closing(Ledger(f"sqlite:///{tmp_path}/new.db")) as ledger:
        told = carry_over(path, ledger, KEEP_S)
        orders, requests = ledger.orders.of_ris("ris"), ledger.commitment_requests.waiting()
        step = ledger.performed.find(STEP.sop_uid)
    found = {"orders": len(orders), "requests for commitment": len(requests), "performed steps": int(bool(step))}
    assert +told == +Counter(found)
    return {order.accession: order for order in orders}, requests, step


def page_with(path, text, kind=0x0D):
    """Number of the page of rows (leaf of a table) that has a text."""
    data = path.read_bytes()
    starts = range(0, len(data), PAGE)
    return next(at // PAGE for at in starts if data[at] == kind and text in data[at : at + PAGE])


def overwrite(path, page, at, data):
    with path.open("r+b") as file:
        file.seek(page * PAGE + at)
        file.write(data)


def test_of_a_whole_ledger_all_is_carried_over(path, kept, tmp_path):
    orders, requests, step = carried(path, tmp_path)
    assert (orders, requests) == (kept, REQUESTS)
    assert replace(step, updated_at=0.0) == STEP


@pytest.mark.parametrize("lost", [["A-100"], ["A-000"], ["A-199"], ["A-050", "A-150"], ["A-000", "A-100", "A-199"]])
def test_damaged_pages_cost_their_own_rows_alone(path, kept, tmp_path, lost):
    data, gone = path.read_bytes(), set()
    for page in {page_with(path, accession.encode()) for accession in lost}:
        gone |= {name for name in kept if name.encode() in data[page * PAGE : (page + 1) * PAGE]}
        overwrite(path, page, 0, b"\xa5" * PAGE)
    with pytest.raises(DatabaseDamaged):
        database.require_whole(path)
    orders, requests, step = carried(path, tmp_path)
    assert set(lost) <= gone and len(gone) < COUNT
    assert orders == {name: order for name, order in kept.items() if name not in gone}
    assert (requests, step.images) == (REQUESTS, STEP.images)


def test_damaged_indexes_cost_nothing(path, kept, tmp_path):
    data = path.read_bytes()
    for page in (page for page in range(1, len(data) // PAGE) if data[page * PAGE] in (0x02, 0x0A)):
        overwrite(path, page, 0, b"\xa5" * PAGE)
    with pytest.raises(DatabaseDamaged):
        database.require_whole(path)
    assert carried(path, tmp_path)[0] == kept


def test_a_damaged_neighbour_in_the_schema_costs_nothing(path, kept, tmp_path):
    at = path.read_bytes().index(b"CREATE TABLE removals")
    overwrite(path, 0, at, b"\xa5" * 20)
    with pytest.raises(DatabaseDamaged):
        database.require_whole(path)
    assert carried(path, tmp_path)[0] == kept


def test_a_row_that_was_overwritten_and_looks_whole_does_not_come_back(path, kept, tmp_path):
    """SQLite finds nothing: the order of one patient would stand under the ID of another."""
    page = page_with(path, b"P-100")
    data = path.read_bytes()[page * PAGE : (page + 1) * PAGE]
    overwrite(path, page, data.index(b"P-100"), b"P-999")
    database.require_whole(path)
    orders, _, _ = carried(path, tmp_path)
    assert orders == {name: order for name, order in kept.items() if name != "A-100"}


@pytest.mark.filterwarnings("ignore:Unknown encoding", "ignore:Invalid value")
@pytest.mark.parametrize("seed", range(8))
def test_whatever_is_overwritten_nothing_wrong_is_carried_over(path, kept, tmp_path, seed):
    source = random.Random(seed)
    size = path.stat().st_size
    for _ in range(10):
        at = source.randrange(100, size)
        overwrite(path, 0, at, source.randbytes(source.choice((1, 4, 64))))
    orders, requests, _ = carried(path, tmp_path)
    for name, order in orders.items():
        assert (order.patient_id, order.study_uid) == (kept[name].patient_id, kept[name].study_uid)
    assert all(request.objects for request in requests)


@pytest.mark.parametrize("content", [None, b"", b"nothing", b"SQLite format 3\0" + bytes(5000)])
def test_of_no_database_nothing_is_read(tmp_path, content):
    path = tmp_path / "ledger.db"
    if content is not None:
        path.write_bytes(content)
    assert rows(path, schema.orders) == []
    assert path.exists() == (content is not None)
