"""Damaged databases: the node refuses to start and says what to do, and ``negvol rebuild`` does it."""

import shutil
import sqlite3
import time
from contextlib import closing

import pytest
from node_process import CONFIG, free_port
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian
from typer.testing import CliRunner
from worklist_ris import query

from negvol_pacs.cli import app
from negvol_pacs.config import load
from negvol_pacs.errors import AlreadyRunning, DatabaseDamaged
from negvol_pacs.network.listener import Listener
from negvol_pacs.network.sender import send_folder
from negvol_pacs.storage.commitment_requests import CommitmentRequest
from negvol_pacs.storage.database import is_damaged
from negvol_pacs.storage.orders import encode, order
from negvol_pacs.storage.records import DeliveryState, Result, ResultKind, State
from negvol_pacs.workflow import layout, process
from negvol_pacs.workflow.engine import Jobs, migrate
from negvol_pacs.workflow.rebuild import rebuild_state

STUDY, RESULT = "1.2.826.0.1.3680043.8.498.7", "2.25.1"


@pytest.fixture
def stopped(tmp_path, make_ct):
    """Configuration of a node that has received a series and has stopped."""
    file = tmp_path / "config.toml"
    file.write_text(CONFIG.format(port=free_port(), state=tmp_path / "state", pacs_port=1))
    config = load(file)
    migrate(config.node.state)
    with closing(layout.open_ledger(config.node.state)) as ledger:
        listener = Listener(config, layout.open_inbox(config, ledger), lambda arrival: None)
        listener.start()
        here = config.destinations[0].model_copy(
            update={"ae_title": "NEGVOL", "port": config.node.port, "calling_ae_title": "MODALITY"}
        )
        send_folder(make_ct(slices=12), here)
        listener.stop(1)
    return file


def negvol(file, *arguments):
    return CliRunner().invoke(app, [*arguments, "--config", str(file)])


def received(config):
    with closing(layout.open_ledger(config.node.state)) as ledger:
        fields = ("sop_uid", "series_uid", "study_uid", "sop_class_uid", "transfer_syntax", "path", "size", "sha256")
        kept = ledger.instances(STUDY)
        return {tuple(getattr(entry, name) for name in (*fields, "calling_ae", "called_ae")) for entry in kept}


def damage(path, of=None):
    """Overwrite the heads of all pages but the first, or the root of one table."""
    with closing(sqlite3.connect(path)) as connection:  # else the journal would be read in place of the pages
        assert connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0] == 0
        roots = dict(connection.execute("SELECT name, rootpage FROM sqlite_master"))
    with path.open("r+b") as file:
        for page in [roots[of] - 1] if of else range(1, path.stat().st_size // 4096):
            file.seek(4096 * page + 8)
            file.write(b"\xa5" * 64)


def test_a_damaged_ledger_is_made_anew_from_the_inbox(stopped):
    config = load(stopped)
    before = received(config)
    assert len(before) == 12
    damage(layout.ledger_file(config.node.state))
    with pytest.raises(DatabaseDamaged, match=r"ledger\.db is damaged.*negvol rebuild"):
        layout.require_whole(config.node.state)
    for arguments in (("serve",), ("serve", "--only", "receiver")):
        refused = negvol(stopped, *arguments)
        assert refused.exit_code == 65 or isinstance(refused.exception, DatabaseDamaged)
    done = negvol(stopped, "rebuild")
    assert done.exit_code == 0, done.output
    assert "12 images of 1 studies" in done.output
    layout.require_whole(config.node.state)
    assert received(config) == before
    with closing(layout.open_ledger(config.node.state)) as ledger:
        assert ledger.complete_if_quiet(STUDY, 0).instances == 12
    assert len(list(config.node.state.glob("ledger-damaged-*.db"))) == 1


def test_images_that_are_damaged_too_are_left_out(stopped):
    config = load(stopped)
    before = {row[5]: row for row in received(config)}
    shutil.copyfile(*[config.node.state / "inbox" / path for path in list(before)[:2]])
    (config.node.state / "inbox" / list(before)[2]).write_bytes(b"nothing")
    layout.ledger_file(config.node.state).unlink()
    found = rebuild_state(config)
    reasons = {str(path.relative_to(config.node.state / "inbox")): reason for path, reason in found.left.items()}
    assert reasons.keys() == set(list(before)[1:3])
    assert "not what was received" in reasons[list(before)[1]]
    assert received(config) == {row for path, row in before.items() if path not in reasons}


def write_result(outbox, generation, kind, uid, study=STUDY):
    ds = Dataset()
    ds.SOPClassUID, ds.SOPInstanceUID, ds.StudyInstanceUID, ds.Modality = "1.2.3", uid, study, kind
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    folder = outbox.folder(STUDY, generation)
    folder.mkdir(parents=True, exist_ok=True)
    ds.save_as(folder / f"{kind.lower()}.dcm", enforce_file_format=True)
    (folder / "joints.png").touch()
    return folder / f"{kind.lower()}.dcm"


def test_results_of_earlier_generations_are_known_again_by_their_files(stopped):
    config = load(stopped)
    state = config.node.state
    outbox = layout.open_outbox(state)
    for generation, uid in ((1, "2.25.11"), (2, "2.25.12")):
        write_result(outbox, generation, "SR", uid)
        write_result(outbox, generation, "SEG", "2.25.10")  # the same in both
    cut = write_result(outbox, 3, "SR", "2.25.13")
    cut.write_bytes(cut.read_bytes()[:-3])
    foreign = write_result(outbox, 4, "SR", "2.25.14", study="1.2.3")
    layout.ledger_file(state).unlink()
    found = rebuild_state(config)
    assert (found.results, set(found.left)) == (6, {cut, foreign})
    with closing(layout.open_ledger(state)) as ledger:
        known = {(entry.generation, entry.kind.value): (entry.sop_uid, entry.former) for entry in ledger.results(STUDY)}
        assert known == {
            (1, "SR"): ("2.25.11", ()),
            (1, "SEG"): ("2.25.10", ()),
            (1, "PNG"): ("", ()),
            (2, "SR"): ("2.25.12", ("2.25.11",)),
            (2, "SEG"): ("2.25.10", ()),
            (2, "PNG"): ("", ()),
        }
        assert ledger.is_own_result("2.25.11")  # also when it comes back
        assert [outbox.path(entry.path).name for entry in ledger.latest_reports()] == ["sr.dcm"]
        states = {entry.number: (entry.state, entry.instances) for entry in ledger.generations(STUDY)}
        assert states == {1: (State.DONE, 0), 2: (State.DONE, 0), 3: (State.RECEIVING, 12)}
        assert ledger.deliveries(STUDY) == []


def test_images_without_their_ledger_are_not_taken_for_a_new_node(stopped):
    state = load(stopped).node.state
    for path in state.glob("ledger.db*"):
        path.unlink()
    with pytest.raises(DatabaseDamaged, match="no ledger"):
        layout.require_whole(state)
    layout.require_whole(state / "new")


def test_an_engine_that_forgot_everything_is_told_what_is_still_to_do(stopped):
    config = load(stopped)
    state = config.node.state
    with closing(layout.open_ledger(state)) as ledger:
        ledger.complete_if_quiet(STUDY, 0)
        ledger.set_state(STUDY, 1, State.DONE)
        ledger.record_results([Result(STUDY, 1, ResultKind.SR, RESULT, "x/sr.dcm", "f", (), 0.0)], ["pacs"])
        ledger.record_attempt(RESULT, "pacs", DeliveryState.FAILED)
    damage(layout.workflow_file(state))
    with pytest.raises(DatabaseDamaged, match=r"workflow\.db"):
        layout.require_whole(state)
    before = received(config)
    assert rebuild_state(config) is None
    assert received(config) == before
    layout.require_whole(state)
    with closing(Jobs(state)) as jobs:
        assert jobs.cancel(f"delivery/{RESULT}/pacs/") == 1


def test_what_no_image_tells_is_read_of_the_damaged_ledger(stopped):
    config = load(stopped)
    state = config.node.state
    ordered = order("ris", encode(query(PatientID="P-1")), time.time(), whole=False)
    asked = CommitmentRequest("MODALITY", "2.25.9", "NEGVOL", "127.0.0.1", {"1.2.3": "1.2.4"}, time.time())
    with closing(layout.open_ledger(state)) as ledger:
        ledger.orders.record([ordered], 3600)
        ledger.commitment_requests.enter(asked)
    before = received(config)
    damage(layout.ledger_file(state), of="instances")
    done = negvol(stopped, "rebuild")
    assert done.exit_code == 0, done.output
    assert "read of the damaged one: 1 orders" in done.output
    assert "read of the damaged one: 1 requests for commitment" in done.output
    assert received(config) == before
    with closing(layout.open_ledger(state)) as ledger:
        assert ledger.orders.of_patient("P-1") == [ordered]
        assert ledger.commitment_requests.waiting() == [asked]


def test_a_node_that_runs_is_left_alone(stopped):
    config = load(stopped)
    with process.exclusive(layout.lock(config.node.state, "worker-node-1")), pytest.raises(AlreadyRunning):
        rebuild_state(config)


def test_damage_that_shows_later_is_named(stopped):
    state = load(stopped).node.state
    damage(layout.ledger_file(state))
    with (
        pytest.raises(DatabaseDamaged, match="negvol rebuild"),
        closing(layout.open_ledger(state)) as ledger,
    ):
        ledger.instances(STUDY)
    with closing(sqlite3.connect(layout.ledger_file(state))) as connection:
        with pytest.raises(sqlite3.DatabaseError) as caught:
            connection.execute("SELECT count(*) FROM instances NOT INDEXED WHERE size > 0").fetchall()
        assert is_damaged(caught.value)
    assert not is_damaged(sqlite3.OperationalError("database is locked"))
