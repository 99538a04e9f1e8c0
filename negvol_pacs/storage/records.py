"""What the ledger keeps, as values."""

from dataclasses import dataclass
from enum import StrEnum


class State(StrEnum):
    """Where one generation of a study stands."""

    RECEIVING = "receiving"
    COMPLETE = "complete"
    PROCESSING = "processing"
    DONE = "done"
    REFUSED = "refused"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def words(self) -> str:
        """What a person reads."""
        return "needs a person" if self is State.FAILED else self.value


class DeliveryState(StrEnum):
    """Where one result stands on its way to one destination."""

    PENDING = "pending"
    FAILED = "failed"
    """Tried in vain; tried again at ``next_try``."""
    SENT = "sent"
    """The destination took it and has not yet confirmed that it keeps it."""
    CONFIRMED = "confirmed"
    """Delivered: the destination answers for it, or was found to have it."""
    NEEDS_PERSON = "needs person"

    @property
    def words(self) -> str:
        """What a person reads."""
        return _WORDS[self]


_WORDS = {
    DeliveryState.PENDING: "waiting",
    DeliveryState.FAILED: "to be tried again",
    DeliveryState.SENT: "sent, not confirmed",
    DeliveryState.CONFIRMED: "delivered",
    DeliveryState.NEEDS_PERSON: "needs a person",
}


class ResultKind(StrEnum):
    """What a result is."""

    SEG = "SEG"
    SR = "SR"
    PNG = "PNG"


class Outcome(StrEnum):
    """What became of a received instance."""

    NEW = "new"
    REPEATED = "repeated"
    """The same SOP Instance UID with the same data set: nothing changes."""
    CONFLICT = "conflict"
    """The same SOP Instance UID with another data set: the first one is kept."""


@dataclass(frozen=True)
class Instance:
    """One received object; times are seconds since the epoch (UTC)."""

    sop_uid: str
    series_uid: str
    study_uid: str
    sop_class_uid: str
    transfer_syntax: str
    path: str
    """Relative to the inbox's folder."""
    size: int
    sha256: str
    """Of the data set as received, without the file meta information."""
    calling_ae: str
    called_ae: str
    association_id: str
    received_at: float
    generation: int = 0


@dataclass(frozen=True)
class Generation:
    """One complete-able state of a study: what had arrived when it fell quiet.

    Generation n is computed from all instances that arrived in generations 1 to n. It is
    closed when it leaves ``RECEIVING``; whatever comes later opens generation n + 1.
    """

    study_uid: str
    number: int
    state: State
    code: str
    """Stable code of a refusal or failure (errors.py), else empty."""
    reason: str
    """Sentence for a person, else empty."""
    opened_at: float
    last_at: float
    """When the last instance arrived, or its association ended."""
    updated_at: float
    instances: int
    """Number of instances in generations 1 to ``number``."""
    calling_ae: str


@dataclass(frozen=True)
class SeriesVerdict:
    """What the series gate said about one series of a generation."""

    study_uid: str
    generation: int
    series_uid: str
    measured: bool
    code: str
    reason: str


@dataclass(frozen=True)
class Result:
    """One file made from a generation."""

    study_uid: str
    generation: int
    kind: ResultKind
    sop_uid: str
    """Empty for a picture."""
    path: str
    """Relative to the outbox's folder."""
    fingerprint: str
    """Hash over the input and the algorithm: equal fingerprints, equal results."""
    former: tuple[str, ...]
    """SOP Instance UIDs of the results that this one replaces."""
    created_at: float


@dataclass(frozen=True)
class Delivery:
    """One result on its way to one destination."""

    sop_uid: str
    destination: str
    state: DeliveryState
    attempts: int
    next_try: float
    error: str
    updated_at: float


@dataclass(frozen=True)
class Order:
    """One scheduled procedure step, as a RIS answered it."""

    key: str
    """Hash of what names it, whichever RIS speaks of it."""
    ris: str
    study_uid: str
    accession: str
    patient_id: str
    issuer: str
    """Of the patient ID."""
    modality: str
    scheduled_at: float | None
    """On the clock of the place, as if that were UTC; None where not known."""
    seen_at: float
    """Seconds since the epoch."""
    identifier: bytes
    """The item, in Implicit VR Little Endian."""
