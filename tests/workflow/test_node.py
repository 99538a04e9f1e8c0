"""The node with real processes and sockets: killed, restarted, and the PACS holds one pair."""

import signal
import time

from negvol_pacs.storage.records import DeliveryState

STUDY = "1.2.826.0.1.3680043.8.498.7"


def test_a_series_goes_in_and_one_pair_comes_back_and_again_nothing(node, pacs, make_ct):
    pacs.start()
    node.start("receiver")
    node.start("worker")
    ct = make_ct()
    node.send(ct)
    node.wait_for("done")
    first = _pair(pacs)
    assert {str(dataset.StudyInstanceUID) for dataset in pacs.stored} == {STUDY}
    node.send(ct)
    time.sleep(4)  # quiet period and dispatch
    assert len(pacs.stored) == 2
    assert node.segmentations() == ["begin", "end"]
    assert len(node.ledger.generations(STUDY)) == 1
    assert {str(dataset.SOPInstanceUID) for dataset in first} == {r.sop_uid for r in node.ledger.results(STUDY)} - {""}


def test_worker_killed_in_segmentation_finishes_once(node, pacs, make_ct):
    pacs.start()
    node.start("receiver")
    node.start("worker", STAND_IN_SECONDS="60")
    node.send(make_ct())
    _until_segmenting(node)
    node.kill("worker")
    assert node.running["receiver"].poll() is None
    assert node.listening()
    node.start("worker")
    node.wait_for("done")
    _pair(pacs)
    assert node.segmentations() == ["begin", "begin", "end"]
    time.sleep(3)
    assert pacs.modalities == ["SEG", "SR"]


def test_receiver_killed_after_the_last_image_loses_nothing(node, pacs, make_ct):
    pacs.start()
    node.start("receiver")
    node.send(make_ct())
    node.kill("receiver")
    node.start("receiver")
    node.start("worker")
    node.wait_for("done")
    _pair(pacs)


def test_delivery_waits_for_the_pacs_over_a_restart(node, pacs, make_ct):
    node.start("receiver")
    node.start("worker")
    node.send(make_ct())
    node.wait_for("done")
    _wait(lambda: len(node.ledger.deliveries(STUDY, [DeliveryState.FAILED])) == 2)
    assert "cannot be reached" in node.cli("queue", "show", STUDY).stdout
    node.kill("worker")
    pacs.start()
    node.start("worker")
    _pair(pacs)
    _wait(lambda: len(node.ledger.deliveries(STUDY, [DeliveryState.SENT])) == 2)
    assert node.segmentations() == ["begin", "end"]


def test_late_images_make_new_results_that_name_the_former(node, pacs, make_ct):
    pacs.start()
    node.start("receiver")
    node.start("worker")
    node.send(make_ct("early", slices=48))
    node.wait_for("done", number=1)
    former = {str(dataset.Modality): str(dataset.SOPInstanceUID) for dataset in _pair(pacs)}
    node.send(make_ct("late", slices=4, first=48))
    node.wait_for("done", number=2)
    _wait(lambda: len(pacs.stored) == 4)
    sr = next(d for d in pacs.stored[2:] if d.Modality == "SR")
    assert str(sr.SOPInstanceUID) != former["SR"]
    named = [
        str(item.ReferencedSOPInstanceUID)
        for study in sr.PredecessorDocumentsSequence
        for series in study.ReferencedSeriesSequence
        for item in series.ReferencedSOPSequence
    ]
    assert named == [former["SR"]]


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


def test_cancelled_study_is_not_delivered(node, pacs, make_ct):
    pacs.start()
    node.start("receiver")
    node.start("worker", STAND_IN_SECONDS="3")
    node.send(make_ct())
    _until_segmenting(node)
    assert "cancelled" in node.cli("queue", "cancel", STUDY).stdout
    _wait(lambda: "end" in node.segmentations())
    time.sleep(2)
    assert pacs.stored == []
    assert node.wait_for("cancelled").number == 1


def test_processes_stop_on_sigterm_and_receiver_has_no_torch(node):
    node.start("receiver")
    node.start("worker")
    _wait(lambda: "worker-ready" in node.log.read_text())
    maps = open(f"/proc/{node.running['receiver'].pid}/maps").read()  # noqa: SIM115, PTH123
    assert "torch" not in maps
    assert node.kill("worker", signal.SIGTERM) == 0
    assert node.kill("receiver", signal.SIGTERM) == 0


def _wait(condition, timeout_s=40):
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def _until_segmenting(node):
    _wait(lambda: "begin" in node.segmentations())


def _pair(pacs):
    _wait(lambda: len(pacs.stored) >= 2)
    assert pacs.modalities == ["SEG", "SR"]
    return list(pacs.stored)
