"""The configuration: one TOML file, checked key by key."""

import tomllib
from collections.abc import Iterable
from fnmatch import fnmatchcase
from ipaddress import IPv4Network, IPv6Network, ip_address
from pathlib import Path
from typing import Annotated, Literal, Self, get_args
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, field_validator, model_validator

from negvol_pacs.errors import ConfigError

AETitle = Annotated[str, StringConstraints(strip_whitespace=True, pattern=r"^[\x20-\x5b\x5d-\x7e]{1,16}$")]
"""PS3.8 section 9.3.2 and PS3.5 section 6.2: 1 to 16 characters, no backslash or control character."""

CertificateName = Annotated[str, StringConstraints(pattern=r"^([0-9A-Fa-f]{2}:?){32}$|^[^=]+=.+$")]

HostName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9.-]+$|^\[[0-9A-Fa-f:.]+\]$")]
"""As in a Host header, without the port."""

Port = Annotated[int, Field(ge=1, le=65535)]

Priority = Literal["routine", "stat"]

Service = Literal["echo", "store", "commitment", "mpps", "worklist"]
"""What the node offers to peers."""


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Tls(_Section):
    """PEM files: own certificate (with its chain) and key, authorities that vouch for peers, revocations."""

    certificate: Path
    key: Path
    ca: Path
    crl: Path | None = None


class DestinationTls(Tls):
    """The same for a destination, whose certificate names its ``host`` unless told not to check.

    With ``certificates`` it must also be one of these: see `Peer`.
    """

    check_host: bool = True
    certificates: tuple[CertificateName, ...] = ()


class Node(_Section):
    """Who this node is and where it keeps what must survive."""

    ae_title: AETitle = "NEGVOL"
    host: str = "127.0.0.1"
    port: Port = 11112
    state: Path = Path("/var/lib/negvol-pacs")
    executor_id: str = "node-1"
    drain_s: float = Field(30, ge=0)
    tls: Tls | None = None


class Peer(_Section):
    """A calling AE that is let in; anything not listed is rejected.

    It may call the AE titles of ``called_ae_titles``, by default all of the node's, and use the ``services``,
    by default all. With ``certificates`` it must have shown one of them over TLS: by SHA-256 fingerprint, or
    by subject as in RFC 4514.
    """

    ae_title: AETitle
    networks: tuple[IPv4Network | IPv6Network, ...]
    called_ae_titles: tuple[AETitle, ...] = ()
    services: frozenset[Service] = frozenset(get_args(Service))
    certificates: tuple[CertificateName, ...] = ()
    port: Port | None = None
    """Where it hears reports of storage commitment, at the address that it called from."""
    archive: str | None = None
    """Destination that has all its images: asked whether a series is whole, and for what is missing."""
    priority: Priority = "routine"


class Profile(_Section):
    """What a study gives that came to this called AE title, and whether it is kept when that is delivered."""

    ae_title: AETitle
    results: Literal["all", "measurements", "segmentation"] = "all"
    segmentation: Literal["binary", "labelmap"] = "binary"
    after_delivery: Literal["keep", "delete"] = "keep"
    priority: Priority = "routine"


class Rule(_Section):
    """Which studies a destination takes: each key that is given must have a pattern that fits."""

    calling_ae: tuple[str, ...] = ()
    called_ae: tuple[str, ...] = ()
    study_description: tuple[str, ...] = ()
    station_name: tuple[str, ...] = ()
    body_part: tuple[str, ...] = ()


class Destination(_Section):
    """Where results go, by C-STORE or STOW-RS (``kind``), and where earlier reports are read from.

    One of kind "availability" gets no results: it hears where they lie (instance availability
    notification) when all DICOM destinations have confirmed them.

    ``confirm`` says how the node learns that they are kept: by storage commitment, by a query
    (QIDO-RS where there is ``dicomweb``, else C-FIND), by the first of the two that the peer
    offers ("auto"), or not at all: then the C-STORE's answer must do.

    They are read by QIDO-RS and WADO-RS from ``dicomweb``; without that by C-GET where the peer
    offers it, else by C-MOVE to ``move_ae_title`` on ``move_port`` of this machine.
    """

    name: str
    kind: Literal["dicom", "dicomweb", "availability"] = "dicom"
    ae_title: AETitle = ""
    host: str = ""
    port: Port = 104
    calling_ae_title: AETitle | None = None
    dicomweb: Annotated[str, StringConstraints(pattern=r"^https?://[^\s@]+$")] | None = None
    dicomweb_token_file: Path | None = None
    dicomweb_certificate: Path | None = None
    dicomweb_key: Path | None = None
    dicomweb_ca: Path | None = None
    move_ae_title: AETitle | None = None
    move_port: Port | None = None
    priors: bool = False
    confirm: Literal["auto", "commitment", "query", "none"] = "auto"
    rule: Rule = Rule()
    tls: DestinationTls | None = None

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        if self.kind != "dicomweb" and not {"ae_title", "host", "port"} <= self.model_fields_set:
            raise ValueError("ae_title, host and port are needed")
        if self.kind == "dicomweb" and self.dicomweb is None:
            raise ValueError("dicomweb, the address, is needed")
        if self.kind == "dicomweb" and self.confirm == "commitment":
            raise ValueError("DICOMweb has no storage commitment")
        if (self.dicomweb_certificate is None) != (self.dicomweb_key is None):
            raise ValueError("dicomweb_certificate and dicomweb_key go together")
        if self.dicomweb_token_file is not None and not _is_private(self.dicomweb or ""):
            raise ValueError("a token goes by https only")
        return self


def _is_private(url: str) -> bool:
    """Tell whether nobody on the way can read what is sent there."""
    parts = urlsplit(url)
    return parts.scheme == "https" or parts.hostname in ("127.0.0.1", "::1", "localhost")


class Ris(_Section):
    """A worklist server (RIS) that modalities' queries are passed on to."""

    name: str
    ae_title: AETitle
    host: str
    port: Port
    calling_ae_title: AETitle | None = None
    tls: DestinationTls | None = None


class Limits(_Section):
    """Bounds on what a peer may do."""

    max_associations: int = Field(10, ge=1)
    max_associations_per_address: int = Field(8, ge=1)
    max_pdu_bytes: int = Field(1 << 20, ge=4096)
    max_object_bytes: int = Field(4 << 30, ge=1 << 20)
    association_timeout_s: float = Field(30, gt=0)
    network_timeout_s: float = Field(60, gt=0)
    min_free_bytes: int = Field(2 << 30, ge=0)


class Worklist(_Section):
    """How worklist queries are answered, and how series find their order."""

    timeout_s: float = Field(20, gt=0)
    max_matches: int = Field(1000, ge=1)
    answer_from_kept: bool = False
    keep_days: float = Field(30, gt=0)
    match_within_h: float = Field(24, gt=0)


class SeriesRules(_Section):
    """When a series is complete and which one is measured."""

    quiet_period_s: float = Field(30, ge=0)
    whole_within_s: float = Field(3600, gt=0)
    min_slices: int = Field(40, ge=3)
    max_spacing_mm: float = Field(1.5, gt=0)
    measure_coarse: bool = False
    measure_derived: bool = False


class Pipeline(_Section):
    """How the joints are found and measured."""

    device: Literal["auto", "cpu", "cuda"] | Annotated[str, StringConstraints(pattern=r"^cuda:\d+$")] = "auto"
    threads: int = Field(0, ge=0)
    patience_s: float = Field(900, gt=0)
    models: Path | None = None
    tb_enhancement: bool = True


class Delivery(_Section):
    """How often a destination is tried."""

    first_retry_s: float = Field(5, gt=0)
    longest_retry_s: float = Field(600, gt=0)
    give_up_after_s: float = Field(86400, gt=0)
    confirm_within_s: float = Field(600, gt=0)


class Retention(_Section):
    """How long studies stay that have nothing more to wait for; without ``keep_days``, for ever."""

    keep_days: float | None = Field(None, ge=0)
    keep_refused_days: float | None = Field(None, ge=0)
    low_free_bytes: int = Field(4 << 30, ge=0)


class Syslog(_Section):
    """A syslog server for the audit trail: over TLS (RFC 5425) with ``tls``, else by UDP (RFC 5426)."""

    host: str
    port: Port
    tls: DestinationTls | None = None
    timeout_s: float = Field(10, gt=0)
    queue: int = Field(1000, ge=1)


class Audit(_Section):
    """The audit trail (PS3.15 A.5), with study UIDs and patient IDs; ``file`` is by default in the state folder."""

    enabled: bool = True
    file: Path | None = None
    site: str = ""
    syslog: Syslog | None = None


class WebTls(_Section):
    """PEM files of the status page: certificate (with its chain) and key."""

    certificate: Path
    key: Path


class Web(_Section):
    """The status page, which changes nothing.

    Without certificate and passwords it is for this machine alone. ``hosts`` are further names by
    which a browser may call it.
    """

    enabled: bool = True
    host: str = "127.0.0.1"
    port: Port = 8080
    hosts: tuple[HostName, ...] = ()
    password_file: Path | None = None
    tls: WebTls | None = None

    @model_validator(mode="after")
    def _is_guarded(self) -> Self:
        if not _is_loopback(self.host) and (self.tls is None or self.password_file is None):
            raise ValueError("tls and password_file are needed where others than this machine can reach it")
        return self


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


class Corrections(_Section):
    """SEGs that a person corrected: kept with their images as training cases in ``folder``, none without it.

    ``calling_ae`` says whose SEGs count, by patterns.
    """

    folder: Path | None = None
    calling_ae: tuple[str, ...] = ("*",)

    def takes(self, calling_ae: str) -> bool:
        """Tell whether a SEG from this peer is received."""
        return self.folder is not None and any(fnmatchcase(calling_ae, pattern) for pattern in self.calling_ae)


class Log(_Section):
    """Structured log on standard error; UIDs and codes, no names."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["json", "console"] = "console"


class Config(_Section):
    """The whole configuration; every key has a default but those of profiles, peers, destinations and RIS."""

    node: Node = Node()
    profiles: tuple[Profile, ...] = ()
    peers: tuple[Peer, ...] = ()
    destinations: tuple[Destination, ...] = ()
    ris: tuple[Ris, ...] = ()
    worklist: Worklist = Worklist()
    limits: Limits = Limits()
    series: SeriesRules = SeriesRules()
    pipeline: Pipeline = Pipeline()
    delivery: Delivery = Delivery()
    retention: Retention = Retention()
    corrections: Corrections = Corrections()
    log: Log = Log()
    audit: Audit = Audit()
    web: Web = Web()

    @field_validator("ris")
    @classmethod
    def _have_names_of_their_own(cls, ris: tuple[Ris, ...]) -> tuple[Ris, ...]:
        if len({item.name for item in ris}) < len(ris):
            raise ValueError("each needs a name of its own")
        return ris

    @model_validator(mode="after")
    def _names_what_there_is(self) -> Self:
        titles = [profile.ae_title for profile in self.profiles]
        if len(set(titles)) < len(titles):
            raise ValueError("each of profiles needs an AE title of its own")
        known = {archive.name for archive in self.archives}
        unknown = sorted({peer.archive for peer in self.peers if peer.archive} - known)
        if unknown:
            raise ValueError(f"no DICOM destination {', '.join(unknown)}, which peers name as archive")
        return self

    @property
    def ae_titles(self) -> tuple[str, ...]:
        """What the node may be called."""
        return tuple(dict.fromkeys((self.node.ae_title, *(profile.ae_title for profile in self.profiles))))

    def profile(self, called: Iterable[str]) -> Profile:
        """Return what counts for these called AE titles: of several, the first in the configuration."""
        names = set(called)
        found = (profile for profile in self.profiles if profile.ae_title in names)
        return next(found, Profile(ae_title=self.node.ae_title))

    @property
    def archives(self) -> tuple[Destination, ...]:
        """Destinations that are DICOM peers."""
        return tuple(destination for destination in self.destinations if destination.kind == "dicom")


def load(path: Path) -> Config:
    """Read and check a configuration file.

    Parameters
    ----------
    path
        TOML file.

    Returns
    -------
    Config
        The checked configuration.

    Raises
    ------
    ConfigError
        If the file cannot be read or parsed, or any key is unknown or any value bad; the
        message names every one of them.
    """
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not a TOML file: {error}") from error
    try:
        return Config.model_validate(raw)
    except ValidationError as error:
        raise ConfigError(f"{path}: " + "; ".join(_sentences(error))) from error


def _sentences(error: ValidationError) -> list[str]:
    sentences = []
    for problem in error.errors():
        key = ".".join(str(part) for part in problem["loc"])
        if problem["type"] == "extra_forbidden":
            sentences.append(f"unknown key {key}")
        elif not key:
            sentences.append(problem["msg"])
        else:
            sentences.append(f"{key}: {problem['msg']} (got {problem['input']!r})")
    return sentences
