"""Certificates for tests: an authority, and a server's certificate for this machine, made by ``openssl``."""

import subprocess
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificates:
    """PEM files.

    Attributes:
        authority: What clients trust.
        certificate: The server's, signed by the authority.
        key: The server's key, PKCS #8, without a password.
    """

    authority: Path
    certificate: Path
    key: Path


def make_certificates(folder: Path, names: str = "DNS:localhost,IP:127.0.0.1") -> Certificates:
    """Make an authority and a server's certificate in a folder; valid for two days.

    Args:
        folder: Made if need be.
        names: The server's names, as OpenSSL's ``subjectAltName`` has them.

    Raises:
        CalledProcessError: ``openssl`` did not do it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    made = Certificates(
        authority=folder / "authority.pem", certificate=folder / "server.pem", key=folder / "server.key"
    )
    curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    _openssl(
        *("req", "-x509", *curve, "-days", "2", "-subj", "/CN=vidface test authority"),
        *("-keyout", str(folder / "authority.key"), "-out", str(made.authority)),
    )
    _openssl(
        *("req", *curve, "-subj", "/CN=vidface test server"),
        *("-keyout", str(made.key), "-out", str(folder / "server.csr")),
    )
    (folder / "server.ext").write_text(f"subjectAltName={names}\n")
    _openssl(
        *("x509", "-req", "-days", "2", "-in", str(folder / "server.csr"), "-extfile", str(folder / "server.ext")),
        *("-CA", str(made.authority), "-CAkey", str(folder / "authority.key"), "-CAcreateserial"),
        *("-out", str(made.certificate)),
    )
    made.key.chmod(0o644)  # a service that gives up being root reads it, too
    return made


def _openssl(*arguments: str) -> None:
    subprocess.run(["openssl", *arguments], check=True, capture_output=True, timeout=60)
