"""What a hostile PACS or DICOMweb server answers leads nowhere, and does not go on for ever (threat 3)."""

import itertools
import json
import threading
import time
import zlib
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from hostile_pacs import is_open, match, pacs, report
from network_node import free_port
from pydicom.dataset import Dataset

from negvol_pacs.config import Config, Destination, Limits, Node
from negvol_pacs.errors import NetworkError, QueryFailed
from negvol_pacs.network import retriever, sender, web
from negvol_pacs.network.dicomweb import fetch
from negvol_pacs.network.retriever import Wanted, fetch_reports

pytestmark = pytest.mark.filterwarnings("ignore:Invalid value for VR UI", "ignore:.*UID.*", "ignore:The value length")

ALL = Wanted(77)
CONFIG = Config(limits=Limits(association_timeout_s=5, network_timeout_s=5))


@pytest.mark.threat(3)
def test_a_uid_that_is_a_path_names_no_file(switch, tmp_path):
    switch.off(retriever, "file_name", str)
    folder = tmp_path / "a" / "reports"
    with pacs(report("../../escaped")) as peer:
        fetch_reports(peer, ALL, folder, CONFIG)
    assert (tmp_path / "escaped.dcm").exists() == switch.is_off
    assert [path.parent for path in tmp_path.rglob("*.dcm")] == [tmp_path if switch.is_off else folder]


def test_matches_without_end_are_cut_off(tmp_path, monkeypatch):
    monkeypatch.setattr(sender, "_MAX_ANSWERS", 1 << 16)
    sent = itertools.count()
    with pacs(matches=lambda: (match() for _ in iter(lambda: next(sent), 50_000))) as peer, pytest.raises(NetworkError):
        fetch_reports(peer, ALL, tmp_path, CONFIG)
    assert next(sent) < 20_000


def test_objects_without_end_are_cut_off(tmp_path, monkeypatch):
    monkeypatch.setattr(sender, "_MAX_ANSWERS", 1 << 16)
    with pacs(report(TextValue="x" * (1 << 18))) as peer, pytest.raises(NetworkError):
        fetch_reports(peer, ALL, tmp_path, CONFIG)
    assert list(tmp_path.rglob("*.dcm")) == []


def test_a_match_without_what_was_asked_is_nonsense_and_not_a_crash(tmp_path):
    nameless = Dataset()
    nameless.QueryRetrieveLevel = "STUDY"
    with pacs(matches=lambda: iter([nameless])) as peer, pytest.raises(QueryFailed, match="answers nonsense"):
        fetch_reports(peer, ALL, tmp_path, CONFIG)


def test_the_port_for_c_move_hears_the_pacs_alone(tmp_path):
    port, seen = free_port(), []
    config = CONFIG.model_copy(update={"node": Node(port=port, host="0.0.0.0")})

    def watched():
        while not is_open(port):
            time.sleep(0.02)
        seen.append(is_open(port, "127.0.0.2"))

    def matches():
        yield match()

    with pacs(report("1.2.3"), matches=matches, moves_to=port) as peer:
        store_scp = retriever._store_scp(peer, config, lambda _event: 0x0000)
        with store_scp:
            watched()
        fetch_reports(peer, ALL, tmp_path, config)
    assert seen == [False]
    assert len(list(tmp_path.glob("*.dcm"))) == 1


@contextmanager
def server(answer, **headers):
    """A DICOMweb server; ``answer`` makes a body of the number of the request."""
    asked = itertools.count()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            body = answer(next(asked))
            self.send_response(200)
            for name, value in ({"Content-Type": "application/dicom+json"} | headers).items():
                self.send_header(name.replace("_", "-"), value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=httpd.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield Destination(name="web", kind="dicomweb", dicomweb=f"http://127.0.0.1:{httpd.server_port}/dicom-web")
    finally:
        httpd.shutdown()
        thread.join()
        httpd.server_close()


def series(number):
    uids = {"0020000D": "1.2", "0020000E": f"1.2.{number}"}
    return json.dumps([{tag: {"vr": "UI", "Value": [uid]} for tag, uid in uids.items()}]).encode()


def test_a_server_that_names_series_for_ever_is_given_up(tmp_path, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr("negvol_pacs.network.dicomweb._MAX_SERIES", 20)
    with server(series) as peer, pytest.raises(QueryFailed, match="more than 20 series"):
        fetch(peer, ALL, tmp_path)


def test_a_deflated_object_is_not_read(tmp_path, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with (
        server(lambda _: b" " * 20_000 + b"1.2.840.10008.1.2.1.99") as peer,
        pytest.raises(QueryFailed, match="deflated"),
    ):
        fetch(peer, ALL, tmp_path)


def test_an_answer_that_unpacks_to_much_is_given_up(tmp_path, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(web, "MAX_ANSWER", 1 << 20)
    packer = zlib.compressobj(wbits=31)
    bomb = packer.compress(b" " * (8 << 20)) + packer.flush()
    with server(lambda _: bomb, Content_Encoding="gzip") as peer, pytest.raises(QueryFailed, match="more than 1048576"):
        fetch(peer, ALL, tmp_path)
