"""The pulse tells the longest silence of any running step."""

import threading
import time

import pytest

from negvol_pacs.workflow.pulse import Pulse


def test_nothing_runs_nothing_is_silent():
    pulse = Pulse()
    assert (pulse.running, pulse.silence_s()) == (0, 0.0)
    with pytest.raises(ValueError), pulse.step():
        assert pulse.running == 1
        raise ValueError
    assert (pulse.running, pulse.silence_s()) == (0, 0.0)


def test_a_lively_step_does_not_hide_a_silent_one():
    pulse, started, end = Pulse(), threading.Event(), threading.Event()

    def silent():
        with pulse.step():
            started.set()
            end.wait()

    thread = threading.Thread(target=silent)
    thread.start()
    started.wait()
    with pulse.step():
        time.sleep(0.05)
        pulse.beat()
        assert pulse.running == 2
        assert pulse.silence_s() >= 0.05
    end.set()
    thread.join()
    assert pulse.running == 0
