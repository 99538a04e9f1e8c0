"""The checkpoint holds the reactor before a request goes out."""

import threading
import time

from negvol_pacs.network.checkpoint import Checkpoint


def reactor(checkpoint: Checkpoint, busy: list[bool], stop: threading.Event) -> None:
    while not stop.is_set():
        checkpoint.wait()
        busy[0] = True
        time.sleep(0.02)
        busy[0] = False


def test_clear_returns_only_when_the_reactor_stands() -> None:
    checkpoint, busy, stop = Checkpoint(), [False], threading.Event()
    thread = threading.Thread(target=reactor, args=(checkpoint, busy, stop))
    thread.start()
    try:
        for _ in range(20):
            time.sleep(0.005)
            checkpoint.clear()
            assert not busy[0]
            time.sleep(0.03)
            assert not busy[0]
            checkpoint.set()
    finally:
        stop.set()
        checkpoint.set()
        thread.join()


def test_set_lets_the_reactor_go_on() -> None:
    checkpoint = Checkpoint()
    assert checkpoint.is_set()
    assert checkpoint.wait(timeout=1)
