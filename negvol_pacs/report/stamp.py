"""What highdicom fills with the clock or refuses to take, set from the arguments."""

from copy import deepcopy
from datetime import datetime

from pydicom import Dataset
from pydicom.valuerep import DA, DT, TM

from negvol_pacs.series.series import Series


def stamp(result: Dataset, series: Series, now: datetime) -> None:
    """Give the result its dates and times, and the patient's name and character set.

    Parameters
    ----------
    result
        Changed in place.
    series
        The input; its Specific Character Set is taken as it is, since the copied names
        are encoded in it, and all text of ours is ASCII.
    now
        Moment of creation.
    """
    result.InstanceCreationDate = DA(now.date())
    result.InstanceCreationTime = TM(now.time())
    for equipment in result.ContributingEquipmentSequence:
        if "ContributionDateTime" in equipment:
            equipment.ContributionDateTime = DT(now)
    if "SpecificCharacterSet" in series.first:
        result.SpecificCharacterSet = series.first.SpecificCharacterSet
    if series.first.get("IssuerOfPatientID"):  # without it, a later study could not be matched
        result["IssuerOfPatientID"] = deepcopy(series.first["IssuerOfPatientID"])
    if "PatientName" in series.first:
        result["PatientName"] = deepcopy(series.first["PatientName"])
