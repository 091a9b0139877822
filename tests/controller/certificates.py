"""Certificates that a test makes: authorities, and who they vouch for; valid for a day."""

from __future__ import annotations

import datetime
import ipaddress
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    pkcs12,
)
from cryptography.x509.oid import NameOID

DAY = datetime.timedelta(days=1)


@dataclass(frozen=True)
class Certified:
    """Somebody with a key and a certificate; `chain` are those between him and the first authority."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey
    chain: tuple[x509.Certificate, ...] = ()

    def vouch(self, name: str, *, address: str | None = None, is_authority: bool = False) -> Certified:
        """Make somebody, who is at this address."""
        return _make(name, self, address, is_authority)

    @property
    def is_root(self) -> bool:
        return self.certificate.issuer == self.certificate.subject

    def pem(self) -> bytes:
        """The certificate, and those of the chain."""
        return b"".join(each.public_bytes(Encoding.PEM) for each in (self.certificate, *self.chain))

    def key_pem(self, password: str = "") -> bytes:
        return self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, _encryption(password))

    def write_pem(self, file: Path, *, password: str = "") -> Path:
        """Key and certificates, in one file."""
        file.write_bytes(self.key_pem(password) + self.pem())
        return file

    def write_pkcs12(self, file: Path, *, password: str) -> Path:
        """Key and certificates, as `keytool` keeps them, too."""
        stored = pkcs12.serialize_key_and_certificates(
            b"me", self.key, self.certificate, self.chain or None, _encryption(password)
        )
        file.write_bytes(stored)
        return file


def authority(name: str) -> Certified:
    """One whom nobody vouches for but himself."""
    return _make(name, None, None, True)


def write_truststore(file: Path, *trusted: Certified, password: str) -> Path:
    """Certificates only."""
    stored = pkcs12.serialize_key_and_certificates(
        None, None, None, [each.certificate for each in trusted], _encryption(password)
    )
    file.write_bytes(stored)
    return file


def _make(name: str, issuer: Certified | None, address: str | None, is_authority: bool) -> Certified:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.certificate.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - DAY)
        .not_valid_after(now + DAY)
        .add_extension(x509.BasicConstraints(is_authority, None), critical=True)
    )
    if address is not None:
        names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(address))])
        made = made.add_extension(names, critical=False)
    certificate = made.sign(issuer.key if issuer else key, hashes.SHA256())
    between = (issuer.certificate, *issuer.chain) if issuer and not issuer.is_root else ()
    return Certified(certificate, key, between)


def _encryption(password: str) -> KeySerializationEncryption:
    return BestAvailableEncryption(password.encode()) if password else NoEncryption()
