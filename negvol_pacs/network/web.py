"""Connections to DICOMweb servers: who we are, whom we trust, and what their errors mean (PS3.18)."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import requests
from dicomweb_client import DICOMwebClient
from pydicom.uid import DeflatedExplicitVRLittleEndian
from requests.auth import AuthBase
from requests.utils import get_environ_proxies

from negvol_pacs.config import Destination
from negvol_pacs.errors import MALFORMED, DeliveryFailed, DeliveryRefused, PeerUnreachable, QueryFailed

_TIMEOUT_S = (10, 120)
"""To connect, and between two bytes of an answer."""
MAX_ANSWER = 256 << 20
"""Bytes of one answer."""
_DEFLATED = DeflatedExplicitVRLittleEndian.encode()
_TOKEN = re.compile(r"[\x21-\x7e]+")
_PASSING = (401, 408, 409, 425, 429)
"""May pass: a token that is being renewed, a conflict, a busy server; as does every 5xx."""


class BearerToken(AuthBase):
    """The bearer token of a destination (RFC 6750), read for each request: it may be renewed at any time."""

    def __init__(self, destination: Destination) -> None:
        self._destination = destination

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """Add the token; what is no token is never named, since it may be one with a typing error."""
        path, name = self._destination.dicomweb_token_file, self._destination.name
        try:
            token = "" if path is None else path.read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise DeliveryFailed(f"the token file of {name} cannot be read") from error
        if not _TOKEN.fullmatch(token):
            raise DeliveryFailed(f"the token file of {name} does not hold one token")
        request.headers["Authorization"] = f"Bearer {token}"
        return request


def client(destination: Destination) -> DICOMwebClient:
    """Make a client for a destination's DICOMweb service.

    Parameters
    ----------
    destination
        With ``dicomweb`` and, where the server asks for them, token, certificate and authority.

    Returns
    -------
    DICOMwebClient
        It never tries again by itself: the workflow does.

    Raises
    ------
    QueryFailed
        If the destination has no address of DICOMweb.
    """
    if destination.dicomweb is None:
        raise QueryFailed(f"{destination.name} has no address of DICOMweb")
    session = requests.Session()
    session.headers["Accept"] = "application/dicom+json"
    session.hooks["response"].append(_bounded)
    if destination.dicomweb_token_file is not None:
        session.auth = BearerToken(destination)
    if destination.dicomweb_certificate is not None:
        session.cert = (str(destination.dicomweb_certificate), str(destination.dicomweb_key))
    if destination.dicomweb_ca is not None:
        session.verify = str(destination.dicomweb_ca)
        # Else REQUESTS_CA_BUNDLE would come before the authority of the configuration.
        session.trust_env, session.proxies = False, get_environ_proxies(destination.dicomweb)
    made = DICOMwebClient(destination.dicomweb, session=session, timeout=_TIMEOUT_S)
    made.set_http_retry_params(retry=False)
    return made


def _bounded(response: requests.Response, *_arguments: object, **_options: object) -> None:
    """Let nobody answer without end, nor with a little that unpacks to much (gzip here, deflated objects later)."""
    plain = response.iter_content

    def iter_content(*arguments: Any, **options: Any) -> Iterator[Any]:
        taken, tail = 0, b""
        for chunk in plain(*arguments, **options):
            taken, tail = taken + len(chunk), tail[-len(_DEFLATED) :] + chunk
            if _DEFLATED in tail:
                raise ValueError("a deflated object")
            if taken > MAX_ANSWER:
                raise ValueError(f"an answer of more than {MAX_ANSWER} bytes")
            yield chunk

    response.iter_content = iter_content  # type: ignore[method-assign]


@contextmanager
def translated(destination: Destination, *, storing: bool = False) -> Iterator[None]:
    """Turn errors of HTTP into ours, those of a query or those of storing.

    Raises
    ------
    PeerUnreachable
        No connection, or none in time.
    DeliveryFailed, DeliveryRefused
        A status that may pass, or one that will not where objects are stored.
    QueryFailed
        Any other answer, or none of DICOMweb.
    """
    try:
        yield
    except requests.HTTPError as error:
        status = 0 if error.response is None else error.response.status_code
        sentence = f"{destination.name} answered {status}"
        if status in _PASSING or status >= 500:
            raise DeliveryFailed(sentence) from error
        raise (DeliveryRefused if storing else QueryFailed)(sentence) from error
    except (requests.ConnectionError, requests.Timeout) as error:
        raise PeerUnreachable(f"{destination.name} cannot be reached: {error}") from error
    except OSError as error:  # a certificate that is not there
        raise PeerUnreachable(f"{destination.name} cannot be spoken to: {error}") from error
    except MALFORMED as error:
        raise QueryFailed(f"{destination.name} does not answer as DICOMweb: {error}") from error
