"""Mutual TLS with real peers: dcmtk's echoscu, storescu and storescp, and openssl's s_client."""

import shutil
import socket
import subprocess
import time
from contextlib import contextmanager

import pytest
from certificates import Authority, Pair
from network_node import LOOPBACK, RunningNode, free_port, write_series
from structlog.testing import capture_logs

from negvol_pacs.config import Destination, Peer
from negvol_pacs.errors import ConfigError, PeerUnreachable
from negvol_pacs.network.sender import echo, send
from negvol_pacs.network.tls import Secured, check

pytestmark = pytest.mark.skipif(shutil.which("echoscu") is None, reason="dcmtk is not installed")


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("authority"), "ca")


@pytest.fixture(scope="module")
def own(authority):
    return authority.sign("node")


@pytest.fixture(scope="module")
def modality(authority):
    return authority.sign("ct1")


@pytest.fixture(scope="module")
def expired(authority):
    return authority.sign("expired", days=-1)


@pytest.fixture(scope="module")
def foreign(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("foreign"), "otherca").sign("intruder")


@pytest.fixture
def node(tmp_path, authority, own):
    node = RunningNode(tmp_path / "node", tls=authority.tls(own))
    yield node
    node.close()


def dcmtk(program, node, authority, pair: Pair | None, *arguments):
    tls = ["+tls", pair.key, pair.certificate, "+cf", authority.pair.certificate] if pair else []
    host, port = node.address
    command = [program, "-to", "5", *tls, "-aet", "TESTER", "-aec", "NEGVOL", host, str(port), *arguments]
    return subprocess.run([str(c) for c in command], capture_output=True, text=True, timeout=30, check=False)


def refusals(logs):
    return [entry["reason"] for entry in logs if entry["event"] == "connection-refused"]


def as_destination(node, authority, pair, **more):
    host, port = node.address
    tls = authority.to_destination(pair, **more)
    return Destination(name="node", ae_title="NEGVOL", host=host, port=port, calling_ae_title="TESTER", tls=tls)


def test_dcmtk_stores_over_tls(node, authority, modality, tmp_path):
    sent = write_series(tmp_path / "series", 6, size=512)
    assert dcmtk("echoscu", node, authority, modality).returncode == 0
    done = dcmtk("storescu", node, authority, modality, *sent)
    assert done.returncode == 0, done.stderr
    assert len(node.ledger.instances("1.2.826.0.1.3680043.9.1")) == 6


@pytest.mark.parametrize(
    ("who", "reason"),
    [
        ("expired", "certificate refused: certificate has expired"),
        ("foreign", "certificate refused: unable to get local issuer certificate"),
        (None, "not TLS"),
    ],
)
def test_who_shows_no_good_certificate_is_refused_with_a_reason(node, authority, modality, request, who, reason):
    pair = request.getfixturevalue(who) if who else None
    with capture_logs() as logs:
        assert dcmtk("echoscu", node, authority, pair).returncode != 0
        node.wait_until_idle()
    assert refusals(logs) == [reason]
    assert dcmtk("echoscu", node, authority, modality).returncode == 0


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["-tls1_1", "-cipher", "DEFAULT@SECLEVEL=0"], "TLS older than 1.2"),
        (["-tls1_2", "-cipher", "AES128-SHA"], "no cipher suite in common"),
        (["-tls1_2"], "no certificate"),
        (["-tls1_3"], "no certificate"),
    ],
)
def test_old_protocols_weak_ciphers_and_nameless_peers_are_refused(node, options, reason):
    host, port = node.address
    with capture_logs() as logs:
        command = ["openssl", "s_client", "-connect", f"{host}:{port}", *options]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=30, check=False)
        node.wait_until_idle()
    assert refusals(logs) == [reason], done.stderr


def test_silent_and_dripping_peers_in_the_handshake_hold_nobody_up(tmp_path, authority, own, modality):
    node = RunningNode(tmp_path / "node", tls=authority.tls(own), association_timeout_s=2)
    silent = [node.connect() for _ in range(5)]
    with capture_logs() as logs:
        assert dcmtk("echoscu", node, authority, modality).returncode == 0
        with pytest.raises(ConnectionError):
            for byte in b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(100):
                silent[0].sendall(bytes([byte]))
                time.sleep(0.1)
        node.wait_until_idle()
    assert refusals(logs) == ["the TLS handshake took too long"] * 5
    for connection in silent:
        connection.close()
    node.close()


@pytest.mark.parametrize("listed", ["fingerprint", "CN=ct1,O=Hospital"])
def test_a_peer_is_known_by_its_certificate(tmp_path, authority, own, modality, listed):
    names = (modality.fingerprint if listed == "fingerprint" else listed,)
    node = RunningNode(tmp_path / "node", tls=authority.tls(own), certificates=names)
    other = authority.sign("ct2")
    assert dcmtk("echoscu", node, authority, modality).returncode == 0
    with capture_logs() as logs:
        assert dcmtk("echoscu", node, authority, other).returncode != 0
    assert "certificate not allowed for this calling AE title" in [entry.get("reason") for entry in logs]
    node.close()


def test_certificates_are_replaced_without_a_restart(tmp_path, authority, modality):
    worn = authority.sign("worn")
    node = RunningNode(tmp_path / "node", tls=authority.tls(worn))
    there = as_destination(node, authority, modality)
    assert echo(there, node.config) < 5
    with associated_socket(node, authority, modality) as before:
        first = before.getpeercert(binary_form=True)
        worn.certificate.write_text("half written")
        with capture_logs() as logs:
            assert echo(there, node.config) < 5, "the former certificate stays in use"
        assert "certificate-not-reloaded" in [entry["event"] for entry in logs]
        authority.sign("worn")
        assert echo(there, node.config) < 5
    with associated_socket(node, authority, modality) as after:
        assert after.getpeercert(binary_form=True) != first
    node.listener.reload(node.config)
    assert echo(there, node.config) < 5
    node.close()


@contextmanager
def associated_socket(node, authority, pair):
    from negvol_pacs.network.tls import client_context

    context = client_context(as_destination(node, authority, pair))
    with socket.create_connection(node.address) as plain, context.wrap_socket(plain, server_hostname="127.0.0.1") as s:
        yield s


@contextmanager
def storescp(folder, authority, pair):
    folder.mkdir()
    port = free_port()
    tls = ["+tls", pair.key, pair.certificate, "+cf", authority.pair.certificate]
    command = ["storescp", *tls, "-od", folder, "-aet", "PACS", port]
    with subprocess.Popen([str(c) for c in command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        try:
            for _ in range(100):
                with socket.socket() as probe:
                    if probe.connect_ex(("127.0.0.1", port)) == 0:
                        break
                time.sleep(0.05)
            yield Destination(name="archive", ae_title="PACS", host="127.0.0.1", port=port)
        finally:
            server.kill()


def test_results_are_sent_to_storescp_over_tls(tmp_path, node, authority, own, modality, expired, foreign):
    paths = write_series(tmp_path / "series", 3, size=256)
    with storescp(tmp_path / "pacs", authority, own) as plain:
        there = plain.model_copy(update={"tls": authority.to_destination(modality)})
        assert [sent.status for sent in send(paths, there, node.config)] == [0, 0, 0]
        assert len(list((tmp_path / "pacs").iterdir())) == 3
        for bad in (expired, foreign):
            stranger = plain.model_copy(update={"tls": authority.to_destination(bad)})
            with pytest.raises(PeerUnreachable, match="cannot be reached: "):
                echo(stranger, node.config)
        with pytest.raises(PeerUnreachable):
            echo(plain, node.config)


def test_a_destination_that_is_not_who_it_should_be_gets_nothing(tmp_path, node, authority, modality, expired, foreign):
    config = node.config
    other = authority.sign("elsewhere", host="DNS:pacs.example")
    for pair, reason in ((expired, "certificate has expired"), (foreign, "issuer"), (other, "IP address mismatch")):
        with storescp(tmp_path / pair.key.stem, authority, pair) as plain:
            there = plain.model_copy(update={"tls": authority.to_destination(modality)})
            with pytest.raises(PeerUnreachable, match=f"certificate refused: .*{reason}"):
                echo(there, config)
            if pair is other:
                unchecked = there.model_copy(update={"tls": authority.to_destination(modality, check_host=False)})
                assert echo(unchecked, config) < 5


def test_a_revoked_certificate_is_refused(tmp_path, authority, own, modality):
    ca = tmp_path / "ca.conf"
    (tmp_path / "index").write_text("")
    ca.write_text(f"[ca]\ndefault_ca=x\n[x]\ndatabase={tmp_path}/index\ndefault_md=sha256\ndefault_crl_days=9\n")
    signer = ["-config", ca, "-cert", authority.pair.certificate, "-keyfile", authority.pair.key]
    for arguments in (["-revoke", modality.certificate], ["-gencrl", "-out", tmp_path / "crl.pem"]):
        subprocess.run(["openssl", "ca", *map(str, [*signer, *arguments])], check=True, capture_output=True)
    tls = authority.tls(own).model_copy(update={"crl": tmp_path / "crl.pem"})
    node = RunningNode(tmp_path / "node", tls=tls)
    with capture_logs() as logs:
        assert dcmtk("echoscu", node, authority, modality).returncode != 0
        node.wait_until_idle()
    assert refusals(logs) == ["certificate refused: certificate revoked"]
    assert dcmtk("echoscu", node, authority, authority.sign("ct3")).returncode == 0
    node.close()


def test_certificates_that_cannot_be_used_are_named(tmp_path, authority, own, modality, node):
    mixed = authority.tls(Pair(own.certificate, modality.key))
    with pytest.raises(ConfigError, match="key values mismatch"):
        Secured(mixed)
    with pytest.raises(ConfigError, match=r"nowhere\.pem"):
        Secured(authority.tls(own).model_copy(update={"ca": tmp_path / "nowhere.pem"}))
    there = as_destination(node, authority, Pair(tmp_path / "gone.pem", modality.key))
    with pytest.raises(ConfigError, match=r"gone\.pem"):
        check(node.config.model_copy(update={"destinations": (there,)}))
    with pytest.raises(PeerUnreachable, match=r"gone\.pem"):
        echo(there, node.config)
    check(node.config)


def test_one_address_cannot_take_all_places(tmp_path):
    node = RunningNode(tmp_path / "node", max_associations=3, max_associations_per_address=2)
    first, second = (node.associate(("1.2.840.10008.1.1",)) for _ in range(2))
    with capture_logs() as logs:
        third = node.associate(("1.2.840.10008.1.1",))
    assert first.is_established and second.is_established and third.is_rejected
    assert "too many associations from this address" in [entry.get("reason") for entry in logs]
    first.release()
    fourth = node.associate(("1.2.840.10008.1.1",))
    assert fourth.is_established
    for assoc in (second, fourth):
        assoc.release()
    node.close()


def test_a_peer_may_call_only_what_it_is_given(tmp_path):
    node = RunningNode(tmp_path / "node")
    peer = Peer(ae_title="TESTER", networks=LOOPBACK, called_ae_titles=("OTHER",))
    node.listener.reload(node.config.model_copy(update={"peers": (peer,)}))
    refused = node.associate(("1.2.840.10008.1.1",))
    assert refused.is_rejected and refused.acceptor.primitive.diagnostic == 7
    node.close()
