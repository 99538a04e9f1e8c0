"""What the pages show and the API answers, as values; times carry their zone."""

from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from negvol_pacs.storage.records import DeliveryState
from negvol_pacs.web.health import Disk, Health


@dataclass(frozen=True)
class Line:
    """One study in a list."""

    study_uid: str
    accession_number: str
    study_date: date | None
    standing: str
    words: str
    """The standing as a person reads it."""
    code: str
    reason: str
    generation: int
    images: int
    sender: str
    """Calling AE title."""
    opened_at: datetime
    updated_at: datetime
    results_planned: int
    """Results times destinations."""
    results_confirmed: int


@dataclass(frozen=True)
class Count:
    """How many studies stand so."""

    standing: str
    words: str
    studies: int


@dataclass(frozen=True)
class Lines:
    """One page of a list."""

    standing: str | None
    studies: list[Line]
    page: int
    pages: int


@dataclass(frozen=True)
class Traffic:
    """Deliveries to one destination, by state."""

    destination: str
    configured: bool
    deliveries: dict[DeliveryState, int]


@dataclass(frozen=True)
class Worker:
    """A process of the node."""

    kind: str
    name: str
    silent: bool
    seen_at: datetime
    started_at: datetime | None
    version: str
    told: dict[str, str]
    """What it runs with: device, weights and their hashes."""


@dataclass(frozen=True)
class Status:
    """The node as a whole."""

    ae_title: str
    version: str
    made_at: datetime
    health: Health
    counts: list[Count]
    destinations: list[Traffic]
    processes: list[Worker]
    disk: Disk


@dataclass(frozen=True)
class Verdict:
    """What the gate said about one series."""

    series_uid: str
    measured: bool
    code: str
    reason: str


@dataclass(frozen=True)
class Made:
    """One result of a generation."""

    kind: str
    sop_uid: str
    created_at: datetime
    kept: bool
    """Whether its file is still here."""


@dataclass(frozen=True)
class Round:
    """One generation of a study: what had arrived when it fell quiet, and what came of it."""

    number: int
    state: str
    code: str
    reason: str
    images: int
    sender: str
    opened_at: datetime
    updated_at: datetime
    series: list[Verdict]
    results: list[Made]


@dataclass(frozen=True)
class Sending:
    """One result on its way to one destination."""

    kind: str
    sop_uid: str
    destination: str
    state: str
    confirmed: bool
    attempts: int
    error: str
    next_try: datetime | None
    updated_at: datetime


@dataclass(frozen=True)
class Study:
    """One study with all that is known of it, but the patient."""

    line: Line
    generations: list[Round]
    deliveries: list[Sending]
    picture: str | None
    """Path of the picture on this server."""
    removed: str
    """When and why its images were deleted; empty while they are here."""
    findings: dict[str, Any] | None
    """As in ``measurements.json``; out of the report."""
    no_findings: str
    """Why there are none; empty where there are, or where none are to be expected yet."""
