"""A small certification authority, made with openssl."""

import subprocess
from dataclasses import dataclass
from pathlib import Path

from negvol_pacs.config import DestinationTls, Tls


def openssl(*arguments: str | Path) -> str:
    done = subprocess.run(["openssl", *map(str, arguments)], capture_output=True, text=True, check=True)
    return done.stdout


@dataclass(frozen=True)
class Pair:
    """A certificate and its key."""

    certificate: Path
    key: Path

    @property
    def fingerprint(self) -> str:
        text = openssl("x509", "-in", self.certificate, "-noout", "-fingerprint", "-sha256")
        return text.strip().partition("=")[2]


class Authority:
    """Signs certificates for 127.0.0.1."""

    def __init__(self, folder: Path, name: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.pair = folder, Pair(folder / f"{name}.pem", folder / f"{name}.key")
        new_key = ("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30")
        openssl(*new_key, "-subj", f"/CN={name}", "-keyout", self.pair.key, "-out", self.pair.certificate)

    def sign(self, name: str, days: int = 30, host: str = "IP:127.0.0.1") -> Pair:
        pair, request = Pair(self.folder / f"{name}.pem", self.folder / f"{name}.key"), self.folder / f"{name}.csr"
        new_key = ("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", pair.key)
        openssl(*new_key, "-subj", f"/O=Hospital/CN={name}", "-out", request)
        extensions = self.folder / f"{name}.ext"
        extensions.write_text(f"subjectAltName={host}\n")
        authority = ("-CA", self.pair.certificate, "-CAkey", self.pair.key, "-CAcreateserial")
        files = ("-in", request, "-extfile", extensions, "-out", pair.certificate)
        openssl("x509", "-req", *authority, "-days", str(days), *files)
        return pair

    def tls(self, pair: Pair) -> Tls:
        """Settings of a listener with this certificate, which trusts this authority."""
        return Tls(certificate=pair.certificate, key=pair.key, ca=self.pair.certificate)

    def to_destination(self, pair: Pair, **more: bool) -> DestinationTls:
        return DestinationTls(certificate=pair.certificate, key=pair.key, ca=self.pair.certificate, **more)
