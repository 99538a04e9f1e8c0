"""One DICOM series as the rooms hand it on."""

from dataclasses import dataclass
from pathlib import Path

from pydicom import Dataset


@dataclass(frozen=True)
class Series:
    """The instances of one series, without pixels.

    Attributes
    ----------
    paths
        One file an instance, in the order of ``headers``.
    headers
        Data sets read with ``stop_before_pixels``; ordered by slice position once
        the gate has passed them, as received before.
    """

    paths: tuple[Path, ...]
    headers: tuple[Dataset, ...]

    @property
    def first(self) -> Dataset:
        """Header of the first instance: patient, study and series attributes."""
        return self.headers[0]

    @property
    def study_instance_uid(self) -> str:
        """Study Instance UID (0020,000D)."""
        return str(self.first.StudyInstanceUID)

    @property
    def series_instance_uid(self) -> str:
        """Series Instance UID (0020,000E)."""
        return str(self.first.SeriesInstanceUID)

    @property
    def sop_instance_uids(self) -> tuple[str, ...]:
        """SOP Instance UIDs (0008,0018), in the order of ``headers``."""
        return tuple(str(header.SOPInstanceUID) for header in self.headers)
