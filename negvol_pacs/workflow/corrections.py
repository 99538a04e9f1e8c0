"""Corrected SEGs among what came for a study: kept with their images as training cases."""

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import structlog

from negvol_pacs.config import SeriesRules
from negvol_pacs.errors import SeriesRefused, TrainingError
from negvol_pacs.series.gate import check
from negvol_pacs.series.series import Series
from negvol_pacs.training.cases.case import Dataset
from negvol_pacs.training.cases.correction import correction_case, read_seg, refers

_log = structlog.get_logger()


def keep(paths: Sequence[Path], images: Sequence[Series], rules: SeriesRules, folder: Path) -> list[str]:
    """Keep every correction with its images; doing it again changes nothing.

    Parameters
    ----------
    paths
        SEG objects.
    images
        The study's series.
    rules
        Only what may be measured can have been segmented.
    folder
        Of the dataset.

    Returns
    -------
    list[str]
        Names of the new cases. What is no correction is logged with the reason and never
        stops the study.
    """
    passed = []
    for item in images:
        with suppress(SeriesRefused):
            passed.append(check(item, rules).series)
    kept = []
    for path in paths:
        seg = read_seg(path)
        series = None if seg is None else next((item for item in passed if refers(seg, item)), None)
        if seg is None or series is None:
            _log.warning("correction-refused", reason="The SEG refers to no images that are here.")
            continue
        try:
            name = Dataset(folder).add(correction_case(path, seg, series))
        except (TrainingError, SeriesRefused) as error:
            _log.warning("correction-refused", series=series.series_instance_uid, reason=str(error))
            continue
        if name is not None:
            _log.info("correction-kept", series=series.series_instance_uid, case=name)
            kept.append(name)
    return kept
