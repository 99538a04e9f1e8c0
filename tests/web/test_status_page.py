"""The status page over real HTTP, from a real process, on a state that the real ledger made."""

import hashlib
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import time
from contextlib import closing

import pytest
import requests
from certificates import Authority
from made_state import PNG, SCRIPT, SECRET, every_standing, served, uid
from prometheus_client.parser import text_string_to_metric_families
from pydicom import dcmread

from negvol_pacs.report.document import read_report
from negvol_pacs.report.table import findings_json
from negvol_pacs.report.wording import NAMES, number
from negvol_pacs.storage.overview import Standing
from negvol_pacs.storage.records import DeliveryState, State
from negvol_pacs.web.passwords import line
from negvol_pacs.workflow import layout

PAGES = ["/", "/studies", "/studies?standing=refused", f"/studies/{uid(5)}", f"/studies/{uid(9)}"]
ROUTES = [*PAGES, f"/studies/{uid(5)}/joints.png", "/health", "/metrics", "/style.css", "/icon.svg"]
ROUTES += ["/api/status", "/api/studies", f"/api/studies/{uid(5)}"]
EXPECTED = {
    "R-1": "received", "W-2": "waiting", "C-3": "computing", "D-4": "delivering", SCRIPT: "delivered", "K-6": "kept",
    "F-7": "refused", "P-8": "needs-person", "P-9": "needs-person", "X-10": "cancelled", "O-11": "refused",
}  # fmt: skip
PASSWORD = "correct horse battery"


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    signs = every_standing(folder / "state")
    with served(folder) as site:
        site.signs = signs
        yield site


@pytest.fixture
def alive(site):
    """Receiver and worker show that they live, now."""
    for path in (site.state / "processes").iterdir():
        os.utime(path)


def test_each_study_is_listed_with_its_standing_and_the_reason(site):
    studies = site.get("/api/studies").json()["studies"]
    assert {study["accession_number"]: study["standing"] for study in studies} == EXPECTED
    assert {study["study_date"] for study in studies} == {"2026-01-02"}
    reasons = {study["accession_number"]: study["reason"] for study in studies}
    assert reasons["P-8"] == "2 images are missing."
    assert reasons["P-9"] == "not delivered to archive: refused: 0x0122"
    assert reasons["C-3"] == "Measuring the joints (70%)"
    times = [study["updated_at"] for study in studies]
    assert times == sorted(times, reverse=True)


def test_the_front_page_says_what_a_person_must_look_at(site, alive):
    page = site.get("/").text
    assert "The node is working" in page
    for words in (
        "2 studies need a person",
        "2 images are missing.",
        "not delivered to archive: refused: 0x0122",
        "cd" * 32,
    ):
        assert words in page
    mismatched = page[page.index("Orders that do not match") : page.index("Latest studies")]
    assert "O-11" in mismatched
    assert "F-7" not in mismatched


@pytest.mark.parametrize("standing", Standing)
def test_studies_are_found_by_standing(site, standing):
    listed = site.get(f"/api/studies?standing={standing}").json()["studies"]
    expected = {accession for accession, known in EXPECTED.items() if known == standing}
    assert {study["accession_number"] for study in listed} == expected
    counts = {count["standing"]: count["studies"] for count in site.get("/api/status").json()["counts"]}
    assert counts[standing] == len(expected)
    page = site.get(f"/studies?standing={standing}").text
    assert page.count('class="uid"') == len(expected)


def test_a_study_has_the_numbers_and_flags_of_its_report(site):
    with closing(layout.open_ledger(site.state, read_only=True)) as ledger:
        report = layout.open_outbox(site.state).path(ledger.overview.study(uid(9)).report)
    findings = read_report(dcmread(report)).findings
    shown = site.get(f"/api/studies/{uid(9)}").json()
    assert shown["findings"] == findings_json(findings)
    page = site.get(f"/studies/{uid(9)}").text
    for side in findings.joints.values():
        for quantity, measurement in side.measurements.items():
            assert NAMES[quantity] in page
            assert number(measurement) in page
            for flag in measurement.flags:
                assert flag.value in page
    (sending,) = shown["deliveries"]
    assert (sending["kind"], sending["state"], sending["confirmed"]) == ("SR", "needs a person", False)
    assert site.get(shown["picture"]).content == PNG


def test_a_study_without_a_report_says_so_and_one_that_never_came_is_not_there(site):
    assert "There is no report of this study." in site.get(f"/studies/{uid(7)}").text
    assert site.get(f"/api/studies/{uid(7)}").json()["findings"] is None
    for path in (f"/studies/{uid(99)}", f"/api/studies/{uid(99)}", f"/studies/{uid(7)}/joints.png", "/nothing"):
        assert site.get(path).status_code == 404
    for path in (
        "/studies/x",
        "/studies/..%2f..%2fetc",
        "/studies?standing=x",
        "/studies?page=0",
        "/api/studies?page=x",
    ):
        assert site.get(path).status_code == 404


def test_what_a_sender_wrote_is_text_and_never_a_name(site):
    for path in ROUTES:
        answer = site.get(path)
        assert answer.status_code in (200, 503)
        assert SECRET.encode() not in answer.content
        assert b"JANE" not in answer.content.upper()
        if answer.headers["Content-Type"].startswith("text/html"):
            assert "<script" not in answer.text
            assert not re.search(r"\son\w+=|style=|https?://", answer.text)
    assert "&lt;script&gt;a()//" in site.get("/studies").text
    assert "tilted &lt;script&gt;" in site.get(f"/studies/{uid(7)}").text
    assert "&lt;script&gt;a()//" in site.get(f"/studies/{uid(5)}").text


def test_the_browser_is_told_to_run_and_load_nothing(site):
    evil = {"Host": "evil.example"}
    policy = "default-src 'none'; style-src 'self'; img-src 'self';"
    for path, headers in [*((path, {}) for path in ROUTES), ("/nothing", {}), ("/", evil)]:
        answered = site.get(path, headers=headers).headers
        assert answered["Content-Security-Policy"].startswith(policy)
        assert answered["X-Content-Type-Options"] == "nosniff"
        assert answered["X-Frame-Options"] == "DENY"
        assert answered["Referrer-Policy"] == "no-referrer"
        assert "Server" not in answered
        assert answered["Cache-Control"] == ("max-age=3600" if path in ("/style.css", "/icon.svg") else "no-store")


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example:80", "10.0.0.1", ""]
)
def test_a_name_that_somebody_else_made_point_here_gets_nothing(site, host):
    for path in ROUTES:
        answer = site.get(path, headers={"Host": host})
        assert (answer.status_code, answer.text) == (400, "Invalid host header")


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1:1234", "[::1]:8080", "LOCALHOST"])
def test_names_of_this_machine_are_answered(site, host):
    assert site.get("/", headers={"Host": host}).status_code == 200


def test_nothing_can_be_changed(site):
    ledger = site.state / "ledger.db"
    before = hashlib.sha256(ledger.read_bytes()).digest()
    for method in ("POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"):
        for path in ROUTES:
            answer = site.session.request(method, site.url + path, timeout=60)
            assert answer.status_code == 405, (method, path)
    assert hashlib.sha256(ledger.read_bytes()).digest() == before
    with closing(layout.open_ledger(site.state, read_only=True)) as read, pytest.raises(Exception, match="readonly"):
        read.set_state(uid(5), 1, State.CANCELLED)


def test_metrics_are_prometheus_text_and_count_the_same(site, alive):
    samples = {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(site.get("/metrics").text)
        for sample in family.samples
    }
    for standing in Standing:
        assert samples["negvol_studies", standing] == list(EXPECTED.values()).count(standing)
    assert samples["negvol_healthy",] == 1
    assert samples["negvol_deliveries", "archive", DeliveryState.CONFIRMED] == 1
    assert samples["negvol_deliveries", "archive", DeliveryState.NEEDS_PERSON] == 1
    assert samples["negvol_process_up", "worker", "node-1"] == 1
    assert samples["negvol_disk_bytes", "free"] > 0
    assert samples["negvol_oldest_active_seconds",] > 0


def test_who_looks_at_a_study_is_in_the_audit_trail_who_looks_at_a_list_is_not(site):
    trail = site.state / "audit.log"
    before = len(trail.read_text().splitlines())
    site.get("/")
    site.get("/studies")
    site.get(f"/studies/{uid(99)}")
    assert len(trail.read_text().splitlines()) == before
    for path in (f"/studies/{uid(5)}", f"/api/studies/{uid(5)}", f"/studies/{uid(5)}/joints.png"):
        site.get(path)
    told = trail.read_text().splitlines()[before:]
    assert len(told) == 3
    for message in told:
        assert 'csd-code="110103"' in message
        assert f'ParticipantObjectID="{uid(5)}"' in message
        assert 'ParticipantObjectID="P-1"' in message
        assert "JANE" not in message.upper()


def test_health_is_200_while_all_lives_and_503_with_the_reason_when_not(site, alive):
    assert site.get("/health").status_code == 200
    assert site.session.head(site.url + "/health", timeout=60).status_code == 200
    os.utime(site.state / "processes" / "worker node-1.json", (time.time() - 300,) * 2)
    answer = site.get("/health")
    assert answer.status_code == 503
    assert "worker node-1 has been silent for 30" in answer.json()["reasons"][0]
    page = site.get("/").text
    assert "The node is not working" in page
    assert "silent" in page
    assert "negvol_healthy 0.0" in site.get("/metrics").text
    os.utime(site.state / "processes" / "worker node-1.json")
    assert site.get("/health").status_code == 200


@pytest.mark.parametrize("damage", ["gone", "no database", "empty"])
def test_without_a_ledger_that_can_be_read_everything_is_503_and_back_again(site, alive, damage):
    ledger, aside = site.state / "ledger.db", site.state / "aside"
    ledger.rename(aside)
    try:
        if damage != "gone":
            ledger.write_text("nonsense" * 1000 if damage == "no database" else "")
        answer = site.get("/health")
        assert (answer.status_code, answer.json()["reasons"]) == (503, ["the ledger cannot be read"])
        for path in ("/", "/studies", f"/studies/{uid(5)}", "/api/status", "/api/studies"):
            answer = site.get(path)
            assert answer.status_code == 503
            assert "The ledger cannot be read" in answer.text
            assert str(site.state) not in answer.text
        metrics = site.get("/metrics")
        assert (metrics.status_code, "negvol_studies" in metrics.text) == (200, False)
        assert ledger.exists() == (damage != "gone")
    finally:
        aside.rename(ledger)
    assert site.get("/health").status_code == 200


@pytest.fixture(scope="module")
def guarded(tmp_path_factory):
    """A site that is reached over TLS, with a login."""
    folder = tmp_path_factory.mktemp("guarded")
    authority = Authority(folder, "ca")
    pair = authority.sign("web")
    (folder / "users").write_text(line("anna", PASSWORD))
    settings = f'password_file = "{folder}/users"\nhosts = ["status.example.org"]\n'
    settings += f'tls = {{ certificate = "{pair.certificate}", key = "{pair.key}" }}\n'
    every_standing(folder / "state")
    with served(folder, settings, "https") as site:
        site.session.verify = str(authority.pair.certificate)
        yield site


def test_without_a_login_there_is_the_health_alone(guarded):
    for path in ROUTES:
        if path == "/health":
            assert guarded.get(path).status_code in (200, 503)
            continue
        for login in (None, ("anna", "wrong password"), ("berta", PASSWORD), ("", "")):
            if login is not None and path not in ("/", "/metrics"):
                continue  # each wrong password takes its time
            answer = guarded.get(path, auth=login)
            assert answer.status_code == 401
            assert answer.headers["WWW-Authenticate"].startswith("Basic realm=")
            assert "A-1" not in answer.text
    for header in ("Basic", "Basic !!", "Bearer x", "Basic YW5uYQ==", "Basic /w=="):
        assert guarded.get("/", headers={"Authorization": header}).status_code == 401
    told = (guarded.state / "audit.log").read_text()
    assert "wrong user name or password" in told


def test_with_a_login_everything_and_the_trail_knows_whose(guarded):
    for path in ROUTES:
        assert guarded.get(path, auth=("anna", PASSWORD)).status_code in (200, 503)
    assert 'UserID="anna"' in (guarded.state / "audit.log").read_text()
    assert PASSWORD not in (guarded.state / "audit.log").read_text() + guarded.log.read_text()


def test_a_further_name_of_the_configuration_counts(guarded):
    login = ("anna", PASSWORD)
    assert guarded.get("/", auth=login, headers={"Host": "status.example.org"}).status_code == 200
    assert guarded.get("/", auth=login, headers={"Host": "other.example.org"}).status_code == 400


def test_with_tls_nothing_is_answered_in_the_clear(guarded):
    with pytest.raises(requests.ConnectionError):
        requests.get(guarded.url.replace("https", "http"), timeout=20)


def test_an_address_that_is_taken_is_one_sentence(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        config = tmp_path / "config.toml"
        config.write_text(f'[node]\nstate = "{tmp_path}"\n[web]\nport = {taken.getsockname()[1]}\n')
        command = [sys.executable, "-m", "negvol_pacs", "web", "--config", str(config)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 4
    assert "cannot listen on 127.0.0.1" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_renewed_certificate_is_taken_over_and_a_wrong_one_is_not(guarded):
    host, port = guarded.url.removeprefix("https://").split(":")

    def shown():
        return ssl.get_server_certificate((host, int(port)), timeout=20)

    former, folder = shown(), guarded.config.parent
    pem, key = folder / "web.pem", folder / "web.key"
    kept = pem.read_bytes(), key.read_bytes()
    pem.write_text("nonsense")
    guarded.process.send_signal(signal.SIGHUP)
    wait_for(lambda: "certificate-not-reloaded" in guarded.log.read_text())
    assert shown() == former
    pem.write_bytes(kept[0])
    Authority(folder, "ca2").sign("web")
    guarded.process.send_signal(signal.SIGHUP)
    wait_for(lambda: shown() != former)


def wait_for(condition):
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)
