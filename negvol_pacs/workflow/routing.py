"""Which destinations take the results of a study."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from negvol_pacs.config import Destination, Rule
from negvol_pacs.series.series import Series
from negvol_pacs.storage.records import Instance


@dataclass(frozen=True)
class Traits:
    """What rules look at: of the series that was measured and of the associations that it came by."""

    calling_ae: frozenset[str]
    called_ae: frozenset[str]
    study_description: frozenset[str]
    station_name: frozenset[str]
    body_part: frozenset[str]

    @classmethod
    def of(cls, series: Iterable[Series], instances: Iterable[Instance]) -> "Traits":
        """Gather them from the headers and from the ledger."""
        headers, entries = [item.first for item in series], list(instances)

        def values(keyword: str) -> frozenset[str]:
            return frozenset(str(ds.get(keyword) or "").strip() for ds in headers)

        return cls(
            frozenset(entry.calling_ae for entry in entries),
            frozenset(entry.called_ae for entry in entries),
            values("StudyDescription"),
            values("StationName"),
            values("BodyPartExamined"),
        )


def takers(destinations: Sequence[Destination], traits: Traits) -> list[str]:
    """Return the names of the destinations whose rule matches, in their order.

    Parameters
    ----------
    destinations
        Of the configuration; one without a rule takes everything.
    traits
        Of the study.

    Returns
    -------
    list of str
        Names.
    """
    return [destination.name for destination in destinations if matches(destination.rule, traits)]


def matches(rule: Rule, traits: Traits) -> bool:
    """Tell whether every key of a rule has a pattern that fits; ``*`` and ``?`` as in file names, in any case."""
    return all(
        any(fnmatchcase(value.upper(), pattern.upper()) for value in getattr(traits, key) for pattern in patterns)
        for key, patterns in rule
        if patterns
    )
