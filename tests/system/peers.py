"""Real peers, and how tests start and wait for them."""

import shutil
import socket
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests
from dicomweb_client import DICOMwebClient
from pydicom import Dataset

PLUGINS = Path("/usr/share/orthanc/plugins")


def need(*tools: str) -> None:
    """Skip the test where a real peer is not installed."""
    absent = [tool for tool in tools if not shutil.which(tool)]
    if absent:
        pytest.skip(f"not installed: {', '.join(absent)} (see deploy/test.sh)")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(true: Callable[[], object], seconds: float, what: str) -> None:
    """Wait until something is true; fail with its name."""
    deadline = time.monotonic() + seconds
    while not true():
        if time.monotonic() > deadline:
            pytest.fail(f"{what}: not within {seconds:g} s")
        time.sleep(0.1)


@contextmanager
def running(command: list[str], log: Path, **options: object) -> Iterator[subprocess.Popen[bytes]]:
    """Run a server until the block ends; stop it by its own process id."""
    with log.open("ab") as stream:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=stream, stderr=stream, **options)
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@dataclass(frozen=True)
class Orthanc:
    """A running Orthanc that stands for the PACS."""

    ae_title: str
    port: int
    http_port: int
    node_port: int
    log: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.http_port}"

    def dicomweb(self) -> DICOMwebClient:
        session = requests.Session()
        session.trust_env = False  # no proxy of this machine
        return DICOMwebClient(f"{self.url}/dicom-web", session=session)

    def count(self, study: str) -> dict[str, int]:
        """Instances of a study by modality, as DICOMweb finds them (QIDO-RS)."""
        found = self.dicomweb().search_for_series(study_instance_uid=study, fields=["NumberOfSeriesRelatedInstances"])
        numbers: dict[str, int] = {}
        for series in map(Dataset.from_json, found):
            numbers[series.Modality] = numbers.get(series.Modality, 0) + int(series.NumberOfSeriesRelatedInstances)
        return numbers

    def uids(self, study: str) -> frozenset[str]:
        """SOP Instance UIDs of a study."""
        found = self.dicomweb().search_for_instances(study)
        return frozenset(str(Dataset.from_json(item).SOPInstanceUID) for item in found)

    def forget(self, study: str) -> None:
        """Delete a study, if it is there."""
        session = requests.Session()
        session.trust_env = False
        query = {"Level": "Study", "Query": {"StudyInstanceUID": study}}
        for known in session.post(f"{self.url}/tools/find", json=query, timeout=30).json():
            session.delete(f"{self.url}/studies/{known}", timeout=30).raise_for_status()

    def fetch(self, study: str, modality: str, folder: Path) -> Path:
        """Retrieve the one instance of a modality (WADO-RS)."""
        client = self.dicomweb()
        (series,) = map(Dataset.from_json, client.search_for_series(study, search_filters={"Modality": modality}))
        (found,) = client.search_for_instances(study, series.SeriesInstanceUID)
        ds = client.retrieve_instance(study, series.SeriesInstanceUID, Dataset.from_json(found).SOPInstanceUID)
        path = folder / f"{modality}.dcm"
        ds.save_as(path, enforce_file_format=True)
        return path


def answers(url: str) -> bool:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=2) as answer:
            return answer.status == 200
    except OSError:
        return False
