"""Whether two objects are of the same patient: never a guess."""

import re
from dataclasses import dataclass

from pydicom import Dataset

# What anonymisers and technicians write for "nobody in particular".
_NOBODY = re.compile(r"(ANON(YM(OUS|I[SZ]ED))?|DE-?IDENTIFIED|UNKNOWN|NONE|N/?A|NO ?ID|TEST|PATIENT|X+|0+)?")


@dataclass(frozen=True)
class Patient:
    """Who the patient is (PS3.3 C.7.1.1 and table 10-18).

    Attributes
    ----------
    patient_id, issuer
        Patient ID and who gave it; empty where not known.
    birth_date
        YYYYMMDD, empty where not known.
    """

    patient_id: str
    issuer: str = ""
    birth_date: str = ""

    @classmethod
    def of(cls, ds: Dataset) -> "Patient":
        """Read the patient of a data set."""
        return cls(_text(ds, "PatientID"), _text(ds, "IssuerOfPatientID"), _text(ds, "PatientBirthDate"))

    @property
    def key(self) -> tuple[str, str, str] | None:
        """What is equal for the same patient and for nobody else; None where that cannot be said.

        An issuer or a birth date that only one of two objects knows makes two keys. An ID that
        names nobody in particular, such as ``ANONYMOUS``, needs a birth date to be a key.
        """
        if _NOBODY.fullmatch(self.patient_id.upper()) and not (self.patient_id and self.birth_date):
            return None
        return self.patient_id, self.issuer, self.birth_date

    def is_same(self, other: "Patient") -> bool:
        """Tell whether both are surely the same patient."""
        return self.key is not None and self.key == other.key


def _text(ds: Dataset, keyword: str) -> str:
    value = ds.get(keyword)
    return "" if value is None else str(value).strip()
