"""Findings out of a structured report of this package: the way back of :mod:`negvol_pacs.report.sr`."""

from collections.abc import Iterator

from highdicom.sr import CodedConcept
from pydicom import Dataset

from negvol_pacs.anatomy import Side
from negvol_pacs.joint.findings import Findings, JointMeasurements, Measurement, Quantity, Symmetry
from negvol_pacs.quality import QualityFlag
from negvol_pacs.report import codes

# PS3.16: measurement group, finding, finding site, laterality, measurement method, derivation
_GROUP, _FINDING, _SITE, _LATERALITY = "125007", "121071", "363698007", "272741003"
_METHOD, _DERIVATION = "370129005", "121401"

_MEANING = {codes.flag(flag).value: flag for flag in QualityFlag}


def read_findings(sr: Dataset) -> Findings:
    """Read the numbers and flags of a report, without landmarks and surfaces.

    Parameters
    ----------
    sr
        A report that :func:`negvol_pacs.report.sr.build_sr` made.

    Returns
    -------
    Findings
        A side without a group is there with no measurements. Flags of the whole series,
        which the report repeats in each joint's group, stand at the series.
    """
    groups = {_side(group): group for group in _walk(sr) if _name(group) == _GROUP and not _is_change(group)}
    flags = {side: _flags(group, codes.quality().value) for side, group in groups.items()}
    common = frozenset.intersection(*flags.values()) if flags else frozenset()
    joints = {
        side: JointMeasurements(side, _measurements(groups.get(side)), flags=flags.get(side, frozenset()) - common)
        for side in Side
    }
    return Findings(joints, Symmetry(_measurements(groups.get(None))), common)


def is_whole(sr: Dataset) -> bool:
    """Tell whether all groups are there up to their last item: a file that was cut off may lack flags alone."""
    groups = [group for group in _walk(sr) if _name(group) == _GROUP]
    sides = [_side(group) for group in groups if not _is_change(group)]
    use = codes.intended_use().value
    ended = all(any(_name(item) == use for item in _children(group)) for group in groups)
    return ended and len(sides) == 3 and set(sides) == {*Side, None}


def _is_change(group: Dataset) -> bool:
    return bool(_coded(group, _FINDING) == codes.change())


def find_texts(sr: Dataset) -> Iterator[str]:
    """All text items of a report, from the first to the last."""
    return (str(item.TextValue) for item in _walk(sr) if item.ValueType == "TEXT")


def _measurements(group: Dataset | None) -> dict[Quantity, Measurement]:
    if group is None:
        return {}
    values: dict[Quantity, dict[str, float]] = {}
    for item in _children(group):
        if item.ValueType == "NUM":
            kind = "sd" if _coded(item, _DERIVATION) == codes.standard_deviation() else "value"
            number = item.MeasuredValueSequence[0].NumericValue
            values.setdefault(_quantity(item), {})[kind] = float(number)
    found = {}
    for quantity in Quantity:
        flags = _flags(group, codes.quality_of(quantity).value)
        value = values.get(quantity, {})
        if value or flags:
            found[quantity] = Measurement(quantity, value.get("value"), value.get("sd"), flags)
    return found


def _quantity(item: Dataset) -> Quantity:
    for quantity in Quantity:
        method = codes.method(quantity)
        if codes.quantity(quantity).value == _name(item) and method in (None, _coded(item, _METHOD)):
            return quantity
    raise ValueError(f"the report measures something unknown: {_name(item)}")


def _flags(group: Dataset, question: str) -> frozenset[QualityFlag]:
    answers = (item for item in _children(group) if item.ValueType == "CODE" and _name(item) == question)
    return frozenset(_MEANING[item.ConceptCodeSequence[0].CodeValue] for item in answers)


def _side(group: Dataset) -> Side | None:
    for item in _children(group):
        if _name(item) == _SITE:
            laterality = _coded(item, _LATERALITY)
            return next((side for side in Side if codes.laterality(side) == laterality), None)
    return None


def _walk(item: Dataset) -> Iterator[Dataset]:
    for child in _children(item):
        yield child
        yield from _walk(child)


def _children(item: Dataset) -> list[Dataset]:
    return list(item.get("ContentSequence", ()))


def _name(item: Dataset) -> str:
    names = item.get("ConceptNameCodeSequence")
    return str(names[0].CodeValue) if names else ""


def _coded(item: Dataset, name: str) -> CodedConcept | None:
    """Coded child with this concept name."""
    children = (child for child in _children(item) if _name(child) == name and child.ValueType == "CODE")
    return next((CodedConcept.from_dataset(child.ConceptCodeSequence[0]) for child in children), None)
