"""What the real processes tell the service manager, and that they obey it."""

import os
import signal
import socket
import threading
import time

import pytest
import requests
from node_process import free_port, until
from pynetdicom import AE
from pynetdicom.sop_class import Verification

from negvol_pacs.config import Config, Limits
from negvol_pacs.config import Node as Settings
from negvol_pacs.network.listener import Listener
from negvol_pacs.workflow import layout
from negvol_pacs.workflow.service import Service


class Manager:
    """The service manager's end of the socket."""

    def __init__(self, folder):
        self.path = folder / "notify"
        self.messages = []
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(self.path))
        self.thread = threading.Thread(target=self.listen, daemon=True)
        self.thread.start()

    def listen(self):
        while message := self.socket.recv(4096):
            self.messages.append(message.decode().split("\n"))

    def close(self):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as end:
            end.sendto(b"", str(self.path))
        self.thread.join()
        self.socket.close()

    def environment(self, watchdog_s=1):
        return {"NOTIFY_SOCKET": str(self.path), "WATCHDOG_USEC": str(int(watchdog_s * 1e6))}

    def count(self, line):
        return sum(line in message for message in self.messages)

    def wait_for(self, line, times=1):
        until(lambda: self.count(line) >= times, what=line)


@pytest.fixture
def manager(tmp_path):
    manager = Manager(tmp_path)
    yield manager
    manager.close()


def associate(node, calling):
    ae = AE(calling)
    ae.add_requested_context(Verification)
    return ae.associate("127.0.0.1", node.port, ae_title="NEGVOL")


def test_the_environment_is_taken_so_that_children_keep_silent(manager, monkeypatch):
    for name, value in manager.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("WATCHDOG_PID", "1")
    service = Service()
    assert not {"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"} & set(os.environ)
    service.alive()  # the watchdog is another process's
    service.ready("up")
    service.status("up")
    service.status("busy")
    manager.wait_for("STATUS=busy")
    assert manager.messages == [["READY=1", "STATUS=up"], ["STATUS=busy"]]


def test_without_a_manager_nothing_happens(monkeypatch):
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    service = Service()
    service.ready("up")
    service.alive()
    service.stopping(1)


def test_the_receiver_reports_and_reloads_without_dropping_an_association(node, manager):
    node.start("receiver", **manager.environment())
    manager.wait_for("READY=1")
    manager.wait_for("WATCHDOG=1", times=3)
    held = associate(node, "MODALITY")
    assert held.is_established
    assert not associate(node, "NEWCOMER").is_established

    text = node.config.read_text()
    node.config.write_text(text.replace('"MODALITY"', '"NEWCOMER"'))
    node.running["receiver"].send_signal(signal.SIGHUP)
    manager.wait_for("READY=1", times=2)
    assert held.send_c_echo().Status == 0x0000
    newcomer = associate(node, "NEWCOMER")
    assert newcomer.is_established
    newcomer.release()
    assert not associate(node, "MODALITY").is_established

    node.config.write_text("nonsense")
    node.running["receiver"].send_signal(signal.SIGHUP)
    manager.wait_for("READY=1", times=3)
    assert "config-not-reloaded" in node.log.read_text()
    newcomer = associate(node, "NEWCOMER")
    assert newcomer.is_established
    newcomer.release()

    node.running["receiver"].send_signal(signal.SIGTERM)
    manager.wait_for("STOPPING=1")
    assert held.send_c_echo().Status == 0x0000  # what is open may finish
    held.release()
    assert node.running.pop("receiver").wait(20) == 0
    assert manager.count("RELOADING=1") == 2


def test_the_status_page_reports_and_reloads_and_sees_the_receiver_live_and_stop(node, manager):
    port = free_port()
    node.config.write_text(f"{node.config.read_text()}[web]\nport = {port}\n")
    node.start("web", **manager.environment())
    manager.wait_for("READY=1")
    manager.wait_for("WATCHDOG=1", times=3)

    def reasons():
        return requests.get(f"http://127.0.0.1:{port}/health", timeout=60, proxies={"http": ""}).json()["reasons"]

    assert reasons() == ["the ledger cannot be read", "no receiver is running", "no worker is running"]
    node.start("receiver")
    until(lambda: reasons() == ["no worker is running"])

    node.config.write_text(node.config.read_text().replace('name = "pacs"', 'name = "other"'))
    node.running["web"].send_signal(signal.SIGHUP)
    manager.wait_for("READY=1", times=2)
    status = requests.get(f"http://127.0.0.1:{port}/api/status", timeout=60, proxies={"http": ""}).json()
    assert [traffic["destination"] for traffic in status["destinations"]] == ["other"]
    (process,) = status["processes"]
    assert (process["kind"], process["silent"]) == ("receiver", False)

    assert node.kill("receiver", signal.SIGTERM) == 0
    assert reasons() == ["no receiver is running", "no worker is running"]
    assert node.kill("web", signal.SIGTERM) == 0
    manager.wait_for("STOPPING=1")
    assert manager.count("RELOADING=1") == 1


def test_the_watchdog_is_fed_by_the_loop_that_accepts_and_starves_when_it_hangs(tmp_path, manager, monkeypatch):
    for name, value in manager.environment(0.04).items():
        monkeypatch.setenv(name, value)
    service, go, hangs = Service(), threading.Event(), threading.Event()
    go.set()

    def on_turn():
        if not go.is_set():
            hangs.set()
            go.wait()
        service.alive()

    config = Config(node=Settings(state=tmp_path, port=free_port()), limits=Limits(min_free_bytes=0))
    ledger = layout.open_ledger(tmp_path)
    listener = Listener(config, layout.open_inbox(config, ledger), lambda arrival: None, on_turn=on_turn)
    listener.start()
    manager.wait_for("WATCHDOG=1", times=3)
    go.clear()
    assert hangs.wait(5)
    fed = manager.count("WATCHDOG=1")
    time.sleep(0.5)
    assert manager.count("WATCHDOG=1") <= fed + 1  # one may have been on its way
    go.set()
    manager.wait_for("WATCHDOG=1", times=fed + 2)
    listener.stop()
    ledger.close()


@pytest.mark.slow
def test_a_worker_whose_step_hangs_ends_itself(node, manager, make_ct):
    node.config.write_text(node.config.read_text() + "[pipeline]\npatience_s = 1.0\n")
    node.start("receiver")
    node.send(make_ct())
    node.start("worker", STAND_IN_SECONDS="600", **manager.environment())
    manager.wait_for("READY=1")
    manager.wait_for("WATCHDOG=1")
    manager.wait_for("STATUS=1 steps running")
    assert node.running.pop("worker").wait(60) == 70
    assert "worker-hung" in node.log.read_text()
