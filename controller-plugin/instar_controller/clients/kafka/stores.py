"""Certificates and keys as Java's programs keep them, in the form that the library takes: PEM.

One rule: what a file is shows in its first bytes, not in its name. PKCS #12 and PEM are read; Java's own form (JKS)
is refused with the command that converts it. Errors are `ValueError`, say what to do, and show no secret.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
    pkcs12,
)
from cryptography.hazmat.primitives.serialization.pkcs12 import PKCS12KeyAndCertificates

_PEM = b"-----BEGIN "
_OF_JAVA = (b"\xfe\xed\xfe\xed", b"\xce\xce\xce\xce")  # JKS, JCEKS
_DER = b"\x30"  # a sequence, as PKCS #12 is
_KEY = re.compile(rb"-----BEGIN ([A-Z ]*PRIVATE KEY)-----.*?-----END \1-----", re.DOTALL)
MOST_BYTES = 16 << 20  # of a file that is read; all of the world's authorities take 1 % of it


@dataclass(frozen=True, slots=True)
class Identity:
    """Who we are: our certificate first, then those that vouch for it, and our key, not encrypted; all in PEM."""

    certificates: str
    key: str = field(repr=False)


def authorities(path: Path, password: str) -> str:
    """The certificates of a truststore, in PEM. Raises `ValueError`."""
    data = _read(path)
    if data.lstrip().startswith(_PEM):
        found = _certificates(data)
    else:
        store = _pkcs12(path, data, password)
        found = [one.certificate for one in (store.cert, *store.additional_certs) if one is not None]
    if not found:
        raise ValueError("there is no certificate in it")
    return _pem(found)


def identity(path: Path, password: str, key_password: str = "") -> Identity:
    """The key of a keystore, and its certificates. In a PEM file the key has a password, not the file. Raises
    `ValueError`.
    """
    data = _read(path)
    key: PrivateKeyTypes | None
    if data.lstrip().startswith(_PEM):
        found, key = _certificates(data), _key(data, key_password or password)
    else:
        store = _pkcs12(path, data, password)
        found = [one.certificate for one in (store.cert, *store.additional_certs) if one is not None]
        key = store.key if store.cert is not None else None
    if key is None or not found:
        raise ValueError("there is no key with its certificate in it")
    if key.public_key() != found[0].public_key():
        raise ValueError("its key does not belong to its first certificate")
    return Identity(_pem(found), key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode())


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise ValueError(error.strerror or str(error)) from error
    if len(data) > MOST_BYTES:
        raise ValueError(f"it is larger than {MOST_BYTES >> 20} MB, so it is no store of certificates")
    if data.startswith(_OF_JAVA):
        raise ValueError(
            "it is a keystore of Java's own form, which is not read; convert it, and name what comes out: keytool "
            f"-importkeystore -srckeystore {path} -destkeystore {path.with_suffix('.p12')} -deststoretype PKCS12"
        )
    if not data.lstrip().startswith(_PEM) and not data.startswith(_DER):
        raise ValueError("it is neither PKCS #12 nor PEM")
    return data


def _pkcs12(path: Path, data: bytes, password: str) -> PKCS12KeyAndCertificates:
    try:
        return pkcs12.load_pkcs12(data, password.encode() or None)
    except UnsupportedAlgorithm as error:
        raise ValueError(
            f"it is encrypted in a way that is not read any more ({error}); write it anew: keytool -importkeystore "
            f"-srckeystore {path} -destkeystore {path.with_suffix('.new.p12')} -deststoretype PKCS12"
        ) from error
    except ValueError as error:
        raise ValueError("it is no PKCS #12, or its password is another one") from error


def _certificates(data: bytes) -> Sequence[x509.Certificate]:
    if b"CERTIFICATE-----" not in data:
        return []
    try:
        return x509.load_pem_x509_certificates(data)
    except ValueError as error:
        raise ValueError(f"a certificate in it cannot be read: {error}") from error


def _key(data: bytes, password: str) -> PrivateKeyTypes | None:
    found = _KEY.search(data)
    if found is None:
        return None
    is_locked = b"ENCRYPTED" in found[0]
    if is_locked and not password:
        raise ValueError("its key is encrypted, and no password is given")
    try:
        return load_pem_private_key(found[0], password.encode() if is_locked else None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise ValueError("its key cannot be read, or its password is another one") from error


def _pem(certificates: Sequence[x509.Certificate]) -> str:
    return b"".join(each.public_bytes(Encoding.PEM) for each in certificates).decode()
