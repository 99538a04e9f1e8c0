"""Compressed pixels are decoded in a process of their own.

The decoders are C and C++ libraries, and a damaged JPEG can end the process that runs them (seen:
abort in GDCM, threat 11). Here that costs one child and gives one error. The child has a memory
limit, answers each frame within a time limit, and ends with its parent.

Parent to child, one JSON line a file: path and decoder. Child to parent, for each frame a JSON
line with type and shape and then the raw values; at the end of the file ``{"end": true}``, or
``{"error": text}``.
"""

import json
import os
import resource
import select
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from pydicom.pixels.utils import iter_pixels

_MEMORY_BYTES = 4 << 30
_CPU_S = 1800
_FRAME_S = 60.0


class DecoderFailed(ValueError):
    """The decoder refused the frame, crashed on it or did not come back."""


class Decoder:
    """The parent's end; a context manager that starts the child when it is first needed."""

    def __init__(self) -> None:
        self._child: subprocess.Popen[bytes] | None = None
        self._received = bytearray()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        child, self._child = self._child, None
        if child is None or child.stdin is None or child.stdout is None:
            return
        child.kill()
        child.wait()
        child.stdin.close()
        child.stdout.close()

    def frames(self, path: Path, plugin: str) -> Iterator[npt.NDArray[np.integer]]:
        """Yield the stored values of each frame of a file.

        Parameters
        ----------
        path
            DICOM file with compressed pixels.
        plugin
            pydicom's name of the decoder.

        Raises
        ------
        DecoderFailed
            With the reason; the child is replaced when it is needed again.
        """
        try:
            self._ask({"path": str(path), "plugin": plugin})
            while "end" not in (answer := self._line()):
                if "error" in answer:
                    raise DecoderFailed(answer["error"])
                shape = tuple(answer["shape"])
                values = np.frombuffer(self._bytes(answer["bytes"]), dtype=answer["dtype"])
                yield values.reshape(shape)
        except (DecoderFailed, OSError):
            self.__exit__()
            raise

    def _ask(self, request: dict[str, str]) -> None:
        if self._child is None:
            self._received.clear()
            self._child = subprocess.Popen(
                [sys.executable, "-P", "-m", __name__],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
                bufsize=0,
            )
        assert self._child.stdin is not None
        self._child.stdin.write(json.dumps(request).encode() + b"\n")

    def _line(self) -> dict[str, Any]:
        while b"\n" not in self._received:
            self._receive()
        line, _, rest = self._received.partition(b"\n")
        self._received = bytearray(rest)
        return dict(json.loads(line))

    def _bytes(self, count: int) -> bytearray:
        while len(self._received) < count:
            self._receive()
        taken, self._received = self._received[:count], self._received[count:]
        return taken

    def _receive(self) -> None:
        assert self._child is not None and self._child.stdout is not None
        ready, _, _ = select.select([self._child.stdout], [], [], _FRAME_S)
        if not ready:
            raise DecoderFailed(f"the decoder did not answer within {_FRAME_S:g} s")
        data = os.read(self._child.stdout.fileno(), 1 << 20)
        if not data:
            raise DecoderFailed("the decoder crashed on it")
        self._received += data


def main() -> None:
    """Run as the child: decode what is asked for until standard input ends."""
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES, _MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (_CPU_S, _CPU_S))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with os.fdopen(os.dup(1), "wb") as answers:
        os.dup2(2, 1)  # what a library prints must not get among the answers
        for line in sys.stdin:
            request = json.loads(line)
            try:
                for pixels in iter_pixels(request["path"], raw=True, decoding_plugin=request["plugin"]):
                    values = np.ascontiguousarray(pixels)
                    head = {"dtype": values.dtype.str, "shape": values.shape, "bytes": values.nbytes}
                    answers.write(json.dumps(head).encode() + b"\n" + values.tobytes())
                answer: dict[str, Any] = {"end": True}
            except Exception as error:  # noqa: BLE001 - whatever it is, the parent is told
                answer = {"error": f"{type(error).__name__}: {error}"[:500]}
            answers.write(json.dumps(answer).encode() + b"\n")
            answers.flush()


if __name__ == "__main__":
    main()
