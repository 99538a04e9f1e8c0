"""Broken PDUs, messages, objects, identifiers and files without end: ``python -m tests.abuse.fuzz --inputs 100000``.

Every input is a valid one with some bytes changed, or with pieces of several in another order, made from a seed
and a number: the same number gives the same input. PDUs and messages go to a running node over loopback,
objects, identifiers and files to what reads them. An input fails when it raises what is no refusal, when the
node does not let go of the connection, or when the node does not answer an echo afterwards. At the end
threads and descriptors must be as many as at the beginning, and memory must have stopped growing.
"""

import argparse
import contextlib
import errno
import logging
import os
import random
import resource
import socket
import struct
import sys
import tempfile
import threading
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

import structlog

for _room in ("abuse", "network", "series"):
    sys.path.append(str(Path(__file__).parents[1] / _room))

from ct_objects import voxels, write_ct  # noqa: E402
from network_node import RunningNode, ct_slice  # noqa: E402
from pydicom.uid import CTImageStorage, EnhancedCTImageStorage, ExplicitVRLittleEndian, ImplicitVRLittleEndian  # noqa: E402
from pynetdicom.sop_class import StorageCommitmentPushModel, Verification  # noqa: E402
from raw_peer import CT, association_request, command_set, fragment, raw_data_set, read_pdu, store_command  # noqa: E402
from worklist_ris import query  # noqa: E402

from negvol_pacs.config import SeriesRules  # noqa: E402
from negvol_pacs.errors import MalformedObject, ReportError, SeriesRefused  # noqa: E402
from negvol_pacs.network.matching import matches  # noqa: E402
from negvol_pacs.report.collection import read_file  # noqa: E402
from negvol_pacs.series.reader import read_volume  # noqa: E402
from negvol_pacs.series.selection import read_headers, select_series  # noqa: E402
from negvol_pacs.storage.identify import identify  # noqa: E402
from negvol_pacs.storage.orders import decode, order  # noqa: E402
from negvol_pacs.storage.scan import scan  # noqa: E402

EXTREMES = [b"\xff" * 4, bytes(4), b"\xff\xff\xff\x7f", b"\xff\xff", b"\0\0", b"\x7f", b"\x80", b"\xfe\xff\x00\xe0"]
EXTREMES += [b"SQ\0\0", b"UN\0\0", b"OB\0\0", b"\\", b"..", b"/", b"\x1b[31m", b"\n", b"'", b"{{7*7}}"]
ANSWERS = {0: "closed", 2: "accepted", 3: "rejected", 4: "answered", 6: "released", 7: "aborted"}
RELEASE = struct.pack(">BxL", 0x05, 4) + bytes(4)
PAUSE_S, LET_GO_S = 0.1, 30.0
GONE = (errno.ECONNRESET, errno.EPIPE, errno.ENOTCONN)


def mutated(seed: random.Random, data: bytes) -> bytes:
    """Return the bytes with one to four changes, most of which keep the length."""
    changed = bytearray(data)
    for _ in range(seed.choice((1, 1, 1, 2, 4))):
        at = seed.randrange(len(changed) + 1)
        length = seed.choice((1, 1, 2, 4, 8, seed.randrange(64)))
        new = seed.choice((seed.randbytes(length), seed.choice(EXTREMES), bytes(length)))
        (kind,) = seed.choices(range(5), (6, 1, 1, 1, 1))
        if kind == 0:  # overwrite
            changed[at : at + len(new)] = new
        elif kind == 1:  # insert
            changed[at:at] = new
        elif kind == 2:  # cut out
            del changed[at : at + length]
        elif kind == 3:  # a piece of the whole, somewhere else
            start = seed.randrange(len(changed) + 1)
            changed[at:at] = changed[start : start + length * 8]
        else:  # end here
            del changed[max(at, len(changed) // 2) :]
    return bytes(changed)


@dataclass
class Tally:
    """What came of the inputs."""

    outcomes: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)

    def note(self, kind: str, outcome: str) -> None:
        self.outcomes[f"{kind}: {outcome}"] += 1


class Fuzzer:
    """Makes inputs, and sees what becomes of them.

    Parameters
    ----------
    folder
        For the node and the files.
    tally
        What came of the inputs.
    """

    def __init__(self, folder: Path, tally: Tally) -> None:
        self.tally = tally
        self.node = RunningNode(
            folder / "node", association_timeout_s=1, network_timeout_s=1, max_object_bytes=1 << 20,
            max_associations=64, max_associations_per_address=64,
        )  # fmt: skip
        self._object = raw_data_set(ct_slice(size=16))
        self._identifier = raw_data_set(query(), implicit=True)
        self._files = write_ct(folder / "ct", voxels((4, 8, 8)))
        self._file = folder / "changed.dcm"
        self._report = raw_data_set(ct_slice(), implicit=True)[:2000]
        self._kinds: dict[str, tuple[int, Callable[[random.Random], str]]] = {
            "pdu": (1, self._pdus),
            "message": (1, self._messages),
            "object": (12, self._an_object),
            "identifier": (5, self._an_identifier),
            "file": (1, self._a_file),
        }

    def close(self) -> None:
        self.node.close()

    def run(self, first: int, count: int) -> None:
        """Try the inputs with these numbers."""
        names = list(self._kinds)
        weights = [weight for weight, _ in self._kinds.values()]
        for number in range(first, first + count):
            seed = random.Random(number)
            (kind,) = seed.choices(names, weights)
            try:
                outcome = self._kinds[kind][1](seed)
            except Exception as error:  # noqa: BLE001 - that is what is looked for
                outcome = "FAILED"
                self.tally.failures.append(f"{kind} {number}: {type(error).__name__}: {error}")
            self.tally.note(kind, outcome)

    def _conversation(self, seed: random.Random) -> list[bytes]:
        """Whole PDUs of a good association, in whatever order."""
        contexts = (CT, (Verification, ImplicitVRLittleEndian), (StorageCommitmentPushModel, ImplicitVRLittleEndian))
        echo = command_set([(0x0002, Verification), (0x0100, 0x0030), (0x0110, 1), (0x0800, 0x0101)], context=3)
        said = [(0x0002, StorageCommitmentPushModel), (0x0100, 0x0100), (0x0110, 7), (0x0800, 0), (0x1002, 1)]
        report = command_set([*said, (0x1000, "1.2.840.10008.1.20.1.1")], context=5)
        action = command_set(
            [(0x0003, StorageCommitmentPushModel), (0x0100, 0x0130), (0x0110, 7), (0x0800, 0), (0x1008, 1)], context=5
        )
        data = fragment(self._object, command=False, last=True)
        other = fragment(self._identifier, command=False, last=True, context=5)
        store = [store_command(ct_slice().SOPInstanceUID), data]
        pieces = [store, store, [echo], [report, other], [action, other], [data]]
        pieces += [[store_command(sop_class=EnhancedCTImageStorage)], [RELEASE]]
        pieces += [[struct.pack(">BxL", kind, 4) + bytes(4)] for kind in (0x02, 0x07)]
        return [association_request(*contexts), *chain.from_iterable(seed.choices(pieces, k=seed.randint(1, 4)))]

    def _pdus(self, seed: random.Random) -> str:
        """The association's first PDU is changed, or any other."""
        pdus = self._conversation(seed)
        index = seed.choice((0, seed.randrange(len(pdus))))
        pdus[index] = mutated(seed, pdus[index])
        return self._say(*pdus)

    def _messages(self, seed: random.Random) -> str:
        """The framing of PDUs stays good, so that what is in them is reached."""
        first, *rest = self._conversation(seed)
        changed = []
        for pdu in rest:
            content = mutated(seed, pdu[12:])
            context, control = (pdu[10], pdu[11]) if pdu[0] == 0x04 else (1, 3)
            if not seed.randrange(5):
                context, control = seed.choice((1, 3, 5, 255)), seed.randrange(4)
            value = bytes([context, control]) + content
            changed.append(struct.pack(">BxLL", 0x04, len(value) + 4, len(value)) + value)
        return self._say(first, *changed)

    def _say(self, request: bytes, *rest: bytes) -> str:
        """Request an association, say the rest in it, and listen until the node lets go; return the last answer."""
        heard: list[bytes] = []
        with self.node.connect() as connection:
            connection.settimeout(LET_GO_S)
            try:
                connection.sendall(request)
                if len(request) >= 6 and len(request) - 6 >= struct.unpack_from(">L", request, 2)[0]:
                    heard += filter(None, [read_pdu(connection)])
                if heard[-1:] and heard[-1][:1] == b"\x02":
                    connection.sendall(b"".join(rest) + RELEASE)
                connection.settimeout(PAUSE_S)
                with contextlib.suppress(TimeoutError):  # the node waits for the rest of something
                    self._listen(connection, heard)
                connection.settimeout(LET_GO_S)
                connection.shutdown(socket.SHUT_WR)
                self._listen(connection, heard)
            except OSError as error:
                if error.errno not in GONE:
                    raise
        return ANSWERS[heard[-1][0] if heard else 0]

    @staticmethod
    def _listen(connection: socket.socket, heard: list[bytes]) -> None:
        while answer := read_pdu(connection):
            heard.append(answer)

    def _an_object(self, seed: random.Random) -> str:
        uid, syntax = ct_slice().SOPInstanceUID, ExplicitVRLittleEndian
        try:
            identify(scan(mutated(seed, self._object), 0, syntax), CTImageStorage, uid, syntax)
        except MalformedObject as error:
            return type(error).__name__
        return "taken"

    def _an_identifier(self, seed: random.Random) -> str:
        changed = mutated(seed, self._identifier)
        try:
            ds = decode(changed)
            order("ris", changed, 0.0, whole=False)
            matches(ds, decode(self._identifier))
        except MalformedObject:
            return "MalformedObject"
        return "read"

    def _a_file(self, seed: random.Random) -> str:
        *whole, victim = self._files
        data = victim.read_bytes()
        self._file.write_bytes(data[:132] + mutated(seed, data[132:]) if seed.random() < 0.9 else mutated(seed, data))
        with contextlib.suppress(ReportError):
            read_file(self._file)
        try:
            found = read_headers([*whole, self._file], lambda _path, _reason: None)
            read_volume(select_series(found, SeriesRules(min_slices=3)).series)
        except SeriesRefused as refusal:
            return type(refusal).__name__
        return "read"


@dataclass(frozen=True)
class Usage:
    """What this process uses."""

    threads: int
    descriptors: int
    memory_mib: float

    @classmethod
    def now(cls) -> "Usage":
        resident = int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
        return cls(threading.active_count(), len(list(Path("/proc/self/fd").iterdir())), resident / 2**20)


@contextlib.contextmanager
def quiet(failures: list[str]) -> Iterator[None]:
    """Say nothing about each input: there are many; a thread that dies of one is a failure."""
    hook, threading.excepthook = threading.excepthook, lambda died: failures.append(f"a thread: {died.exc_value!r}")
    logging.disable(logging.CRITICAL)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        structlog.reset_defaults()
        logging.disable(logging.NOTSET)
        threading.excepthook = hook


def fuzz(folder: Path, count: int, first: int = 0, rounds: int = 1) -> tuple[Tally, list[Usage], bool]:
    """Try inputs in rounds; return what came of them, what was in use after each round, and whether the node lives."""
    tally = Tally()
    with quiet(tally.failures):
        fuzzer = Fuzzer(folder, tally)
        try:
            used = [Usage.now()]
            for index in range(rounds):
                fuzzer.run(first + index * count // rounds, count // rounds)
                fuzzer.node.wait_until_idle(3 * LET_GO_S)
                used.append(Usage.now())
                if rounds > 1:
                    print(f"{(index + 1) * count // rounds:>8} inputs, {used[-1]}", flush=True)
            lives = fuzzer.node.answers_echo()
        finally:
            fuzzer.close()
    return tally, used, lives


def main() -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(description="Broken inputs for the node; the exit code is 1 when one fails.")
    parser.add_argument("--inputs", type=int, default=100_000)
    parser.add_argument("--first", type=int, default=0, help="number of the first input")
    arguments = parser.parse_args()
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        tally, used, lives = fuzz(Path(folder), arguments.inputs, arguments.first, rounds=20)
    for outcome, count in sorted(tally.outcomes.items()):
        print(f"{count:>8}  {outcome}")
    print(f"{time.monotonic() - start:.0f} s; failures: {len(tally.failures)}; node answers: {lives}")
    print(*tally.failures[:50], sep="\n")
    flat = used[-1].threads <= used[1].threads + 2 and used[-1].descriptors <= used[1].descriptors + 4
    return 0 if lives and flat and not tally.failures else 1


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    sys.exit(main())
