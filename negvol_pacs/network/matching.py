"""Attribute matching of worklist queries against kept items (PS3.4 sections C.2.2.2 and K.2.2.1)."""

import re
from fnmatch import translate

from pydicom import DataElement, Dataset
from pydicom.datadict import dictionary_VR, keyword_for_tag

from negvol_pacs.storage.orders import STEPS, text

_COMMENTS = "RequestedProcedureComments"
_CHARACTER_SET = 0x00080005


def matches(query: Dataset, item: Dataset) -> bool:
    """Tell whether an item fulfils all keys of a query: single value, wildcard, range, list of UIDs, sequence."""
    return all(_matches(query, item, tag) for tag in query.keys() if tag != _CHARACTER_SET)  # noqa: SIM118


def answer(query: Dataset, item: Dataset, note: str) -> Dataset:
    """Return of an item what a query asks for.

    Parameters
    ----------
    query
        With its keys; one that the item does not have is answered empty.
    item
        Is changed.
    note
        ASCII, put in front of Requested Procedure Comments (0040,1400), asked for or not.
    """
    comments = text(item, _COMMENTS)
    _restrict(item, query)
    item.RequestedProcedureComments = f"{note} {comments}".strip()
    return item


def _restrict(item: Dataset, query: Dataset) -> None:
    wanted = set(query.keys())
    for tag in [tag for tag in item.keys() if tag not in wanted | {_CHARACTER_SET}]:  # noqa: SIM118
        del item[tag]
    for tag in wanted:
        keyword = keyword_for_tag(tag)
        if tag not in item and keyword:
            item[tag] = DataElement(tag, dictionary_VR(tag), None)
        elif keyword == STEPS and query.get(STEPS):
            for step in item[tag].value:
                _restrict(step, query[tag].value[0])


def _matches(query: Dataset, item: Dataset, tag: int) -> bool:
    keyword = keyword_for_tag(tag)
    if not keyword:
        return True  # private: no key of the model
    vr = dictionary_VR(tag)
    if vr == "SQ":
        keys = query.get(keyword)
        return not keys or any(matches(keys[0], one) for one in item.get(keyword) or [Dataset()])
    wanted = text(query, keyword)
    return not wanted or _value(vr, wanted, text(item, keyword))


def _value(vr: str, wanted: str, value: str) -> bool:
    if vr in ("DA", "TM"):
        return _in_range(wanted.replace(":", ""), value.replace(":", ""))
    if vr == "UI":
        return value in wanted.split("\\")
    # Its expressions take linear time for each star, whatever a peer asks; brackets are no wildcards here.
    pattern = translate(wanted.replace("[", "[[]"))
    return re.fullmatch(pattern, value, re.IGNORECASE if vr == "PN" else re.NOFLAG) is not None


def _in_range(wanted: str, value: str) -> bool:
    first, dash, last = wanted.partition("-")
    if not value:
        return False
    if not dash:
        return value.startswith(first) or first.startswith(value)
    return value >= first and (not last or value <= last or value.startswith(last))
