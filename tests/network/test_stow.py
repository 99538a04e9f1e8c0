"""Results to a DICOMweb server that wants a token, or a certificate; neither ever reaches the log."""

import json
import shutil
import ssl
import subprocess
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from network_node import ct_slice, write_series
from pydantic import ValidationError
from structlog.testing import capture_logs

from negvol_pacs.config import Destination
from negvol_pacs.errors import DeliveryFailed, DeliveryRefused, PeerUnreachable
from negvol_pacs.network.sender import echo, send

SECRET = "tok3n.of-an_archive"
FAILED = {"00081198": {"vr": "SQ", "Value": [{"00081197": {"vr": "US", "Value": [0xA700]}}]}}
REFUSED = {"00081198": {"vr": "SQ", "Value": [{"00081197": {"vr": "US", "Value": [0x0122]}}]}}


@contextmanager
def web(status=200, answer=None, token=None, tls=None):
    """Run a DICOMweb server that answers as told; yield its address and what it got."""
    got = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self):
            got.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.do_GET()

        def do_GET(self):
            allowed = token is None or self.headers.get("Authorization") == f"Bearer {token}"
            body = json.dumps({} if answer is None and self.command == "POST" else answer or []).encode()
            self.send_response(status if allowed else 401)
            self.send_header("Content-Type", "application/dicom+json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield f"http{'s' if tls else ''}://127.0.0.1:{server.server_port}/dicom-web", got
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture
def paths(tmp_path):
    return write_series(tmp_path / "series", 1)


def archive(url, **settings):
    return Destination.model_validate({"name": "archive", "kind": "dicomweb", "dicomweb": url} | settings)


def test_an_object_arrives_whole(paths):
    with web() as (url, got):
        assert [sent.sop_uid for sent in send(paths, archive(url))] == [ct_slice(1).SOPInstanceUID]
        assert echo(archive(url)) > 0
    assert paths[0].read_bytes()[132:] in got[0] or ct_slice(1).PixelData in got[0]


@pytest.mark.parametrize(
    ("status", "answer", "error"),
    [(200, FAILED, DeliveryFailed), (202, REFUSED, DeliveryRefused), (409, REFUSED, DeliveryFailed),
     (503, None, DeliveryFailed), (401, None, DeliveryFailed), (403, None, DeliveryRefused),
     (415, None, DeliveryRefused)],
)  # fmt: skip
def test_failures_are_told_apart(paths, status, answer, error):
    with web(status, answer) as (url, _), pytest.raises(error, match="archive answered"):
        send(paths, archive(url))


def test_the_token_is_read_anew_and_never_logged(paths, tmp_path, caplog):
    caplog.set_level("DEBUG")
    file = tmp_path / "token"
    messages = []
    with capture_logs() as logs, web(token=SECRET) as (url, _):
        peer = archive(url, dicomweb_token_file=str(file))
        for content in (None, f"old{SECRET}", f"{SECRET}\nand {SECRET}"):
            if content is not None:
                file.write_text(content)
            with pytest.raises(DeliveryFailed) as caught:
                send(paths, peer)
            messages.append(str(caught.value))
        file.write_text(SECRET + "\n")
        assert len(send(paths, peer)) == 1
    assert SECRET not in caplog.text + str(logs) + "".join(messages) + repr(peer)


@pytest.mark.parametrize(
    "settings",
    [
        {"dicomweb": "http://192.0.2.1/dicom-web", "dicomweb_token_file": "/t"},
        {"dicomweb": "https://192.0.2.1/dicom-web", "dicomweb_certificate": "/c"},
        {"dicomweb": "https://user:word@192.0.2.1/dicom-web"},
        {"dicomweb": "https://192.0.2.1/dicom-web", "confirm": "commitment"},
        {},
    ],
)
def test_what_is_unsafe_or_half_is_refused(settings):
    with pytest.raises(ValidationError):
        Destination.model_validate({"name": "archive", "kind": "dicomweb"} | settings)


def test_a_client_certificate_opens_the_door(paths, tmp_path):
    if not shutil.which("openssl"):
        pytest.skip("not installed: openssl")
    pair = [str(tmp_path / "cert.pem"), str(tmp_path / "key.pem")]
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
         "-subj", "/CN=node", "-addext", "subjectAltName=IP:127.0.0.1", "-out", pair[0], "-keyout", pair[1]],
        check=True, capture_output=True,
    )  # fmt: skip
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(*pair)
    tls.load_verify_locations(pair[0])
    tls.verify_mode = ssl.CERT_REQUIRED
    with web(tls=tls) as (url, got):
        with pytest.raises(PeerUnreachable):
            send(paths, archive(url, dicomweb_ca=pair[0]))
        assert got == []
        send(paths, archive(url, dicomweb_ca=pair[0], dicomweb_certificate=pair[0], dicomweb_key=pair[1]))
        assert len(got) == 1
