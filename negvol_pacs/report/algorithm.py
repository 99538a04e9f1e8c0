"""Which algorithm made a result."""

from dataclasses import dataclass

import highdicom as hd

from negvol_pacs.report import codes

MANUFACTURER = "negvol-pacs"


@dataclass(frozen=True)
class Algorithm:
    """Name, version and weights: what a number depends on besides the image.

    Attributes
    ----------
    name, version
        Of the pipeline.
    weights_sha256
        Hash over all the networks' weights, hexadecimal.
    """

    name: str
    version: str
    weights_sha256: str

    def for_segment(self) -> hd.AlgorithmIdentificationSequence:
        """Algorithm Identification Macro (PS3.3 table 10-19)."""
        return hd.AlgorithmIdentificationSequence(
            name=self.name,
            family=codes.artificial_intelligence(),
            version=self.version,
            source=MANUFACTURER,
            parameters={"weights_sha256": self.weights_sha256},
        )

    def for_report(self) -> hd.sr.AlgorithmIdentification:
        """TID 4019 Algorithm Identification (PS3.16)."""
        return hd.sr.AlgorithmIdentification(
            name=self.name,
            version=self.version,
            parameters=[f"weights_sha256={self.weights_sha256}"],
            family=codes.artificial_intelligence(),
            manufacturer=MANUFACTURER,
        )
