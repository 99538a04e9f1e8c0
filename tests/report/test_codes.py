"""The tables of codes are complete, unambiguous and within the Standard's lengths."""

from collections.abc import Callable, Iterator

import pytest
from highdicom.sr import CodedConcept

from negvol_pacs.anatomy import Side, Structure
from negvol_pacs.joint.findings import Landmark, Quantity
from negvol_pacs.quality import QualityFlag
from negvol_pacs.report import codes


def every_call() -> Iterator[tuple[str, Callable[[], CodedConcept | None]]]:
    by_argument = {
        codes.structure: Structure,
        codes.category: Structure,
        codes.laterality: (*Side, None),
        codes.quantity: Quantity,
        codes.method: Quantity,
        codes.site: Quantity,
        codes.quality_of: Quantity,
        codes.flag: QualityFlag,
        codes.landmark: Landmark,
        codes.unit: sorted({quantity.unit for quantity in Quantity}),
    }
    for function, arguments in by_argument.items():
        for argument in arguments:
            yield f"{function.__name__}({argument})", lambda function=function, argument=argument: function(argument)
    for function in (
        codes.temporomandibular_joint,
        codes.mandibular_fossa,
        codes.mean,
        codes.standard_deviation,
        codes.quality,
        codes.intended_use,
        codes.research_only,
        codes.former_result,
        codes.procedure,
        codes.comment,
        codes.artificial_intelligence,
    ):
        yield function.__name__, function


CALLS = dict(every_call())


@pytest.mark.parametrize("name", CALLS)
def test_every_concept_is_fresh_and_fits_its_value_representation(name):
    first, second = CALLS[name](), CALLS[name]()
    if first is None:
        assert name.startswith("method(")
        return
    assert first is not second
    assert first == second
    assert 1 <= len(first.value) <= 16  # SH
    assert 1 <= len(first.meaning) <= 64  # LO
    assert first.meaning.isascii()


def test_no_private_code_has_two_meanings():
    meanings: dict[str, set[str]] = {}
    for call in CALLS.values():
        concept = call()
        if concept is not None and concept.scheme_designator == codes.SCHEME:
            meanings.setdefault(concept.value, set()).add(concept.meaning)
    assert all(len(found) == 1 for found in meanings.values())


def test_every_quantity_has_its_own_name():
    assert len({codes.quantity(quantity) for quantity in Quantity}) == len(Quantity)


def test_flags_and_landmarks_have_their_own_codes():
    assert len({codes.flag(flag).value for flag in QualityFlag}) == len(QualityFlag)
    assert len({codes.landmark(landmark).value for landmark in Landmark}) == len(Landmark)
