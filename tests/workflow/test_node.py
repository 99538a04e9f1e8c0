"""The node with real processes and sockets: killed, restarted, and the PACS holds one pair."""

import signal
import time
from pathlib import Path

import pytest
from node_process import until

from negvol_pacs.storage.lifesigns import processes
from negvol_pacs.storage.records import DeliveryState

STUDY = "1.2.826.0.1.3680043.8.498.7"


@pytest.mark.slow
def test_one_pair_comes_back_nothing_for_the_same_again_and_a_new_pair_for_late_images(node, pacs, make_ct):
    pacs.start()
    node.start("receiver")
    node.start("worker")
    ct = make_ct("early", slices=48)
    node.send(ct)
    node.wait_for("done")
    former = {str(dataset.Modality): str(dataset.SOPInstanceUID) for dataset in _pair(pacs)}
    assert {str(dataset.StudyInstanceUID) for dataset in pacs.stored} == {STUDY}
    living = {process.kind: process for process in processes(node.state)}
    assert living["worker"].told["sha256"] == "ab" * 32
    assert not any(process.is_silent(time.time()) for process in living.values())
    assert set(former.values()) == {result.sop_uid for result in node.ledger.results(STUDY)} - {""}

    node.send(ct)
    time.sleep(3)  # quiet period and dispatch
    assert len(pacs.stored) == 2
    assert node.segmentations() == ["begin", "end"]
    assert len(node.ledger.generations(STUDY)) == 1

    node.send(make_ct("late", slices=4, first=48))
    node.wait_for("done", number=2)
    until(lambda: len(pacs.stored) == 4)
    sr = next(dataset for dataset in pacs.stored[2:] if dataset.Modality == "SR")
    assert str(sr.SOPInstanceUID) != former["SR"]
    named = [
        str(item.ReferencedSOPInstanceUID)
        for study in sr.PredecessorDocumentsSequence
        for series in study.ReferencedSeriesSequence
        for item in series.ReferencedSOPSequence
    ]
    assert former["SR"] in named


@pytest.mark.slow
def test_every_process_killed_and_the_pacs_down_yet_one_pair_arrives(node, pacs, make_ct):
    node.start("receiver")
    node.send(make_ct())
    node.kill("receiver")
    node.start("receiver")
    node.start("worker", STAND_IN_SECONDS="60")
    until(lambda: node.segmentations() == ["begin"])
    node.kill("worker")
    assert node.running["receiver"].poll() is None
    until(node.listening)
    node.start("worker")
    node.wait_for("done")
    until(lambda: len(node.ledger.deliveries(STUDY, [DeliveryState.FAILED])) == 2)
    assert "cannot be reached" in node.cli("queue", "show", STUDY).stdout
    node.kill("worker")
    pacs.start()
    node.start("worker")
    _pair(pacs)
    until(lambda: len(node.ledger.deliveries(STUDY, [DeliveryState.SENT])) == 2)
    time.sleep(3)
    assert pacs.modalities == ["SEG", "SR"]
    assert node.segmentations() == ["begin", "begin", "end"]


@pytest.mark.slow
def test_a_refusal_is_a_result_that_the_queue_shows_and_a_person_can_retry(node, pacs, make_ct):
    pacs.start()
    node.start("receiver")
    node.start("worker")
    node.send(make_ct(spacing=3.0))
    refused = node.wait_for("refused")
    assert refused.code == "spacing-too-coarse"
    listed = node.cli("queue", "list")
    assert listed.returncode == 0
    assert "spacing-too-coarse" in listed.stdout
    assert refused.reason in node.cli("queue", "show", STUDY).stdout.replace("\n", " ")
    assert "spacing-too-coarse" in node.log.read_text()
    assert "Phantom" not in node.log.read_text()  # the patient's name
    node.kill("worker", signal.SIGTERM)
    node.config.write_text(node.config.read_text().replace("[series]", "[series]\nmeasure_coarse = true"))
    node.start("worker")
    assert "analysed again" in node.cli("queue", "retry", STUDY).stdout
    node.wait_for("done")
    _pair(pacs)


@pytest.mark.slow
def test_cancelled_study_is_not_delivered_and_sigterm_drains(node, pacs, make_ct):
    pacs.start()
    node.start("receiver")
    node.start("worker", STAND_IN_SECONDS="4")
    node.send(make_ct())
    until(lambda: node.segmentations() == ["begin"])
    assert "torch" not in Path(f"/proc/{node.running['receiver'].pid}/maps").read_text()
    assert "cancelled" in node.cli("queue", "cancel", STUDY).stdout
    assert node.kill("worker", signal.SIGTERM) == 0
    assert node.segmentations() == ["begin", "end"]
    assert node.kill("receiver", signal.SIGTERM) == 0
    assert pacs.stored == []
    assert node.wait_for("cancelled").number == 1


def _pair(pacs):
    until(lambda: len(pacs.stored) >= 2)
    assert pacs.modalities == ["SEG", "SR"]
    return list(pacs.stored)
