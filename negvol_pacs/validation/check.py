"""One number of the report against its reference or limit."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Check:
    """A number, its reference and how far it may be off.

    Attributes
    ----------
    section, subject, quantity, setting
        Where it stands in the report, what was measured, on which joint, how.
    value
        None where it is missing or flagged.
    reference
        What it should be; None where the error speaks for itself.
    error, limit
        In ``unit``; no error where there is no value, no limit where the number is only shown.
    unit
        Of error and limit: %, mm, deg, or nothing.
    """

    section: str
    subject: str
    quantity: str
    setting: str
    value: float | None
    reference: float | None
    error: float | None
    limit: float | None
    unit: str

    @property
    def passed(self) -> bool:
        """Whether there is a number and it is within the limit, if there is one."""
        return self.error is not None and (self.limit is None or abs(self.error) <= self.limit)


def against(
    place: tuple[str, str, str, str], value: float | None, reference: float, limit: float | None, unit: str
) -> Check:
    """Compare a value with its reference; the error is relative where the unit is %."""
    error = None if value is None else float(value - reference)
    if error is not None and unit == "%":
        error *= 100 / reference
    return Check(*place, value, float(reference), error, limit, unit)


def below(place: tuple[str, str, str, str], value: float | None, limit: float, unit: str) -> Check:
    """Hold a value, which is an error itself, against its limit."""
    return Check(*place, value, None, value, limit, unit)
