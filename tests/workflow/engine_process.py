"""A worker process for the engine's tests: its steps write what they do into a file.

Usage: ``python engine_process.py STATE``; the behaviour is read from STATE/behaviour.json:
``analyse_s`` seconds of analysis, ``hold`` for as long as it is set, ``die`` end the process in the
analysis, ``fail`` raise there, ``tries`` how many deliveries fail first, ``stuck`` which
destinations answer nothing for as long as they stand there.
"""

import json
import os
import signal
import sys
import threading
import time
from pathlib import Path

from negvol_pacs.workflow.engine import ROUTINE, URGENT, Engine, migrate

STATE = Path(sys.argv[1])


def say(*words: object) -> None:
    with (STATE / "log.txt").open("a") as file:
        file.write(" ".join(map(str, words)) + "\n")


class Recorder:
    def behaviour(self) -> dict:
        return json.loads((STATE / "behaviour.json").read_text())

    def priority(self, study):
        return URGENT if study.startswith("stat") else ROUTINE

    def close(self, study):
        say("close", study)
        return [1], None

    def select(self, study, generation):
        say("select", study, generation)
        return not study.startswith("refused")

    def analyse(self, study, generation):
        say("begin", study)
        behaviour = self.behaviour()
        time.sleep(behaviour.get("analyse_s", 0))
        while self.behaviour().get("hold"):
            time.sleep(0.1)
        if behaviour.get("die"):
            os._exit(1)
        if behaviour.get("fail"):
            raise ValueError("a defect")
        say("end", study)
        return [(f"{study}.seg", "pacs"), (f"{study}.sr", "pacs")]

    def deliver(self, study, result, destination):
        say("send", result)
        while destination in self.behaviour().get("stuck", ()):
            time.sleep(0.1)
        tries = (STATE / "log.txt").read_text().count(f"send {result}\n")
        return 2.0 if tries <= self.behaviour().get("tries", 0) else None


migrate(STATE)
stop = threading.Event()
signal.signal(signal.SIGTERM, lambda *_: stop.set())
engine = Engine(STATE, "test", Recorder(), lambda error: None)
engine.start()
say("ready")
while not stop.wait(0.2):
    engine.hasten(3600)
    for item in engine.lost():
        say("lost", item.kind, *item.arguments, item.reason)
        engine.forget(item)
engine.stop(5)
os._exit(0)
