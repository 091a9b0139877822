"""Programs whose brokers want TLS, certificates and a login, by the variables of the stock invoker."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from pathlib import Path

import guarded_brokers
import pytest
from certificates import Certified, authority, write_truststore
from clusters import Cluster
from guarded_brokers import GuardedBroker

from instar_controller import kafka_security
from instar_controller.clients.kafka import jaas
from instar_controller.clients.kafka.jaas import Login
from instar_controller.clients.kafka.stores import Identity
from instar_controller.kafka_security import SASL_SSL, Security

pytestmark = [pytest.mark.system, pytest.mark.timeout(300)]

WAIT_S = 60.0
PREFIX = "CONFIG_whisk_kafka_common_"
LOGIN = Login(jaas.SCRAM, "instar", "se;cret")


@pytest.fixture
def ours() -> Certified:
    return authority("ours")


@pytest.fixture
def guarded(ours: Certified, tmp_path: Path) -> Iterator[GuardedBroker]:
    us = ours.vouch("tests")
    identity = Identity(us.pem().decode(), us.key_pem().decode())
    known = Security(SASL_SSL, ours.pem().decode(), identity, True, "SCRAM-SHA-256", LOGIN)
    context = guarded_brokers.server_context(tmp_path, ours.vouch("broker", address="127.0.0.1"), clients=ours)
    with guarded_brokers.running(
        tmp_path,
        kafka_security.configuration(known),
        context=context,
        users={LOGIN.username: LOGIN.password},
        mechanism="SCRAM-SHA-256",
    ) as made:
        yield made


def told(guarded: GuardedBroker, folder: Path, us: Certified, trusted: Certified) -> dict[str, str]:
    return {
        "KAFKA_HOSTS": guarded.hosts,
        f"{PREFIX}securityProtocol": "SASL_SSL",
        f"{PREFIX}sslTruststoreLocation": str(write_truststore(folder / "trust.p12", trusted, password="one")),
        f"{PREFIX}sslTruststorePassword": "one",
        f"{PREFIX}sslKeystoreLocation": str(us.write_pkcs12(folder / "us.p12", password="two")),
        f"{PREFIX}sslKeystorePassword": "two",
        f"{PREFIX}sslEndpointIdentificationAlgorithm": "https",
        f"{PREFIX}saslMechanism": "SCRAM-SHA-256",
        f"{PREFIX}saslJaasConfig": f'{LOGIN.module} required username="instar" password="{LOGIN.password}";',
    }


def test_an_invoker_works_with_all_of_it(
    cluster: Cluster, guarded: GuardedBroker, ours: Certified, tmp_path: Path
) -> None:
    program = cluster.begin_invoker(**told(guarded, tmp_path, ours.vouch("us"), ours))
    program.event("working")
    assert program.end(signal.SIGTERM) == 0
    shown = "\n".join(program.log)
    assert "PRIVATE" not in shown and LOGIN.password not in shown


def test_an_invoker_that_knows_no_such_broker_waits_and_says_why(
    cluster: Cluster, guarded: GuardedBroker, ours: Certified, tmp_path: Path
) -> None:
    program = cluster.begin_invoker(**told(guarded, tmp_path, ours.vouch("us"), authority("others")))
    waiting = program.event("waiting")
    assert waiting["for"] == "the bus" and waiting["why"].endswith(" over SASL_SSL; the log may say why")
    deadline_s = time.monotonic() + WAIT_S
    while not any("nobody in the truststore vouches for it" in line for line in program.log):
        assert time.monotonic() < deadline_s, program.log
        time.sleep(0.05)
    assert program.is_running
    assert program.end(signal.SIGTERM) == 0


def test_an_invoker_whose_truststore_is_of_javas_own_form_ends_with_a_line(
    cluster: Cluster, guarded: GuardedBroker, ours: Certified, tmp_path: Path
) -> None:
    changed = told(guarded, tmp_path, ours.vouch("us"), ours)
    (tmp_path / "trust.p12").write_bytes(b"\xfe\xed\xfe\xed")
    program = cluster.begin_invoker(**changed)
    assert program.wait() == 2
    assert "sslTruststoreLocation" in program.log[-1] and "keytool -importkeystore" in program.log[-1]
