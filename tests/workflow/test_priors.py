"""The prior report of a study: from the outbox, and what it does to the results."""

from contextlib import closing
from dataclasses import replace

import pytest
from invented_reports import ALGORITHM, doubtful, head, invent, report, save
from test_steps import Books

from negvol_pacs.config import Destination
from negvol_pacs.joint.findings import Quantity
from negvol_pacs.report.document import read_report
from negvol_pacs.storage.records import Result, ResultKind
from negvol_pacs.workflow import pipeline, priors

NOW = head("1.2.9", date="20260601")


@pytest.fixture
def books(tmp_path):
    with closing(Books(tmp_path / "state")) as books:
        yield books


def keep(books, ds, generation=1):
    """Put a report into outbox and ledger."""
    folder = books.outbox.folder(ds.StudyInstanceUID, generation)
    path = books.outbox.relative(save(ds, folder))
    entry = Result(ds.StudyInstanceUID, generation, ResultKind.SR, ds.SOPInstanceUID, path, "f", (), 0.0)
    books.ledger.record_results([entry])
    return entry


def find(books, series=NOW, config=None):
    return priors.find(series, books.ledger, books.outbox, config or books.config)


def test_the_first_study_of_the_outbox_is_found_by_its_latest_generation(books):
    old = report(head("1.2.1", date="20240101"), invent(1))
    new = report(head("1.2.1", date="20240101", slices=4), invent(1), former=(old,))
    keep(books, old)
    keep(books, new, generation=2)
    keep(books, report(head("1.2.2", date="20250101"), invent(2)))
    keep(books, report(head("1.2.3", date="20230101", patient="P-2"), invent(3)))
    keep(books, report(NOW, invent(4)))
    assert find(books).sop_instance_uid == new.SOPInstanceUID


def test_a_lost_or_damaged_file_is_no_prior(books):
    lost = keep(books, report(head("1.2.1", date="20240101"), invent(1)))
    books.outbox.path(lost.path).unlink()
    damaged = keep(books, report(head("1.2.2", date="20240102"), invent(1)))
    path = books.outbox.path(damaged.path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert find(books) is None


def test_a_patient_without_an_id_has_no_prior(books):
    keep(books, report(head("1.2.1", date="20240101", patient=""), invent(1)))
    assert find(books, head("1.2.9", date="20260601", patient="")) is None


def test_a_pacs_that_does_not_answer_is_passed_over(books):
    known = keep(books, report(head("1.2.1", date="20240101"), invent(1)))
    nobody = Destination(name="pacs", ae_title="PACS", host="127.0.0.1", port=1, priors=True)
    config = books.config.model_copy(update={"destinations": (nobody,)})
    assert find(books, config=config).sop_instance_uid == known.sop_uid


def test_fingerprint_changes_with_the_prior_alone(books):
    prior = keep(books, report(head("1.2.1", date="20240101"), invent(1)))
    found = find(books)
    assert found.sop_instance_uid == prior.sop_uid
    same = pipeline.fingerprint(NOW, ALGORITHM, find(books))
    assert pipeline.fingerprint(NOW, ALGORITHM, found) == same
    assert pipeline.fingerprint(NOW, ALGORITHM) != same
    assert pipeline.fingerprint(NOW, ALGORITHM, replace(found, sop_instance_uid="1.2")) != same


def test_results_with_a_new_prior_leave_the_segmentation_as_it_was_sent(books, make_ct, monkeypatch):
    """Late images that do not matter bring a second generation, and the prior has come meanwhile."""
    seen = []

    def process(selection, networks, config, folder, now, *, progress, former, prior, profile):
        seen.append(prior)
        for name in ("seg", "sr"):
            save(report(head(), invent(1, right_FW=doubtful(Quantity.FW, 1.0))), folder).rename(folder / f"{name}.dcm")
        files = (folder / name for name in ("seg.dcm", "sr.dcm", "joints.png", "n.json", "w.npz"))
        return pipeline.Result(*files, "2.25.9", f"2.25.{len(seen)}", None)

    monkeypatch.setattr(pipeline, "process_series", process)
    study = "1.2.826.0.1.3680043.8.498.7"
    books.receive(make_ct("early"))
    books.ledger.complete_if_quiet(study, 0)
    books.steps.select(study, 1)
    books.steps.analyse(study, 1)
    prior = read_report(report(head("1.2.1", date="20240101"), invent(1)))
    monkeypatch.setattr(priors, "find", lambda *_: prior)
    books.receive(make_ct("short", slices=5, spacing=0.9))
    books.ledger.complete_if_quiet(study, 0)
    books.steps.select(study, 2)
    books.steps.analyse(study, 2)
    assert seen == [None, prior]
    first, second = ({r.kind: r for r in books.ledger.results(study, n)} for n in (1, 2))
    assert first[ResultKind.SEG].path == second[ResultKind.SEG].path
    assert first[ResultKind.SR].path != second[ResultKind.SR].path
    assert second[ResultKind.SR].former == ("2.25.1",)
    assert second[ResultKind.SEG].fingerprint == second[ResultKind.SR].fingerprint
