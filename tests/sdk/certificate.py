"""A private certificate authority and a certificate of this machine, made with openssl as an operator would."""

import subprocess
from dataclasses import dataclass
from pathlib import Path

DAYS = "2"


@dataclass(frozen=True, slots=True)
class Certificate:
    """Files, PEM."""

    ca_file: Path
    certificate_file: Path
    key_file: Path


def make_certificate(folder: Path) -> Certificate:
    """Make both in a folder that is there: for 127.0.0.1 and localhost."""
    made = Certificate(folder / "ca.pem", folder / "server.pem", folder / "server.key")
    ca_key, request, extensions = folder / "ca.key", folder / "server.csr", folder / "extensions"
    extensions.write_text(
        "subjectAltName=IP:127.0.0.1,DNS:localhost\nbasicConstraints=critical,CA:FALSE\n"
        "keyUsage=critical,digitalSignature,keyEncipherment\nextendedKeyUsage=serverAuth\n"
        "subjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\n"
    )
    new_key = ("-newkey", "rsa:2048", "-nodes", "-sha256")
    usage = ("-addext", "keyUsage=critical,keyCertSign,cRLSign")
    _openssl(
        "req", "-x509", *new_key, *usage, "-days", DAYS, "-subj", "/CN=Test CA", "-keyout", ca_key, "-out", made.ca_file
    )
    _openssl("req", *new_key, "-subj", "/CN=localhost", "-keyout", made.key_file, "-out", request)
    signer = ("-CA", made.ca_file, "-CAkey", ca_key, "-CAcreateserial", "-days", DAYS, "-sha256")
    _openssl("x509", "-req", "-in", request, *signer, "-extfile", extensions, "-out", made.certificate_file)
    return made


def _openssl(*arguments: str | Path) -> None:
    ran = subprocess.run(["openssl", *arguments], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, f"{ran.stderr}\n(openssl is missing? make system)"
