"""How brokers are spoken to: with TLS or without, as whom, and whom we believe that it is a broker.

One rule: the settings are those of Kafka's clients in Java, which a stock invoker is told, and mean the same; here
they are put into the words of librdkafka. Files are read once, at the start, so that a bad one is told at once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from instar_controller import cluster_variables as names
from instar_controller.clients.kafka import jaas, stores
from instar_controller.clients.kafka.jaas import Login
from instar_controller.clients.kafka.stores import Identity
from instar_controller.errors import SettingsError
from instar_controller.variables import Given, Variable

PLAINTEXT, SSL, SASL_PLAINTEXT, SASL_SSL = names.KAFKA_PROTOCOLS

_MODULES = {"PLAIN": jaas.PLAIN, "SCRAM-SHA-256": jaas.SCRAM, "SCRAM-SHA-512": jaas.SCRAM}

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Security:
    """What both sides have to agree on. Certificates and keys are in PEM."""

    protocol: str = PLAINTEXT
    authorities: str | None = None  # None: those that the machine has
    identity: Identity | None = None  # None: the brokers want none
    checks_names: bool = False  # whether a broker's certificate has to be of the host that was asked for
    mechanism: str = ""  # of a login
    login: Login | None = field(default=None)

    @property
    def is_open(self) -> bool:
        """Whether brokers let everybody in, so that nothing but an outage keeps us from them."""
        return self.protocol == PLAINTEXT

    @property
    def has_tls(self) -> bool:
        return self.protocol in (SSL, SASL_SSL)

    @property
    def has_login(self) -> bool:
        return self.protocol in (SASL_PLAINTEXT, SASL_SSL)


def configuration(security: Security) -> Mapping[str, str]:
    """What librdkafka is told."""
    told = {"security.protocol": security.protocol}
    if security.has_tls:
        told["ssl.endpoint.identification.algorithm"] = "https" if security.checks_names else "none"
        if security.authorities is not None:
            told["ssl.ca.pem"] = security.authorities
        if security.identity is not None:
            told["ssl.certificate.pem"] = security.identity.certificates
            told["ssl.key.pem"] = security.identity.key
    if security.has_login and security.login is not None:
        told["sasl.mechanism"] = security.mechanism
        told["sasl.username"] = security.login.username
        told["sasl.password"] = security.login.password
    return told


def read(given: Given) -> Security:
    """What this run was told. Raises `SettingsError`."""
    protocol = given.value(names.KAFKA_SECURITY)
    checks_names, mechanism = given.value(names.KAFKA_CHECKED) != "", given.value(names.SASL_MECHANISM)
    has_tls, has_login = protocol in (SSL, SASL_SSL), protocol in (SASL_PLAINTEXT, SASL_SSL)
    return Security(
        protocol,
        authorities=_store(given, names.TRUSTSTORE, _authorities) if has_tls else None,
        identity=_store(given, names.KEYSTORE, _identity) if has_tls else None,
        checks_names=checks_names,
        mechanism=mechanism,
        login=_login(given, protocol, mechanism) if has_login else None,
    )


def _authorities(given: Given, path: Path) -> str:
    return stores.authorities(path, given.value(names.TRUSTSTORE_PASSWORD))


def _identity(given: Given, path: Path) -> Identity:
    return stores.identity(path, given.value(names.KEYSTORE_PASSWORD), given.value(names.KEY_PASSWORD))


def _store(given: Given, variable: Variable[Path | None], load: Callable[[Given, Path], T]) -> T | None:
    path = given.value(variable)
    if path is None:
        return None
    try:
        return load(given, path)
    except ValueError as error:
        raise SettingsError(f"{given.source(variable)} {path}: {error}") from error


def _login(given: Given, protocol: str, mechanism: str) -> Login:
    if not mechanism:
        raise SettingsError(
            f"{given.source(names.KAFKA_SECURITY)} {protocol}: {names.SASL_MECHANISM.name} is not set, and Kerberos, "
            f"which Kafka takes then, is not offered; set it to one of {', '.join(_MODULES)}"
        )
    wanted = f'{_MODULES[mechanism]} required username="…" password="…";'
    line = given.value(names.SASL_JAAS)
    if not line:
        raise SettingsError(
            f"{given.source(names.KAFKA_SECURITY)} {protocol}: {names.SASL_JAAS.name} is not set; set it to {wanted}"
        )
    try:
        login = jaas.parse(line)
    except ValueError as error:
        raise SettingsError(f"{names.SASL_JAAS.name}: {error}; write {wanted}") from error
    if login.module != _MODULES[mechanism]:
        raise SettingsError(
            f"{names.SASL_JAAS.name}: its login module is not that of {names.SASL_MECHANISM.name} {mechanism}; write "
            f"{wanted}"
        )
    return login
