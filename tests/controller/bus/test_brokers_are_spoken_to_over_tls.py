"""Brokers over TLS: who is believed to be one, and as whom we come."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Iterator
from dataclasses import replace

import guarded_brokers
import pytest
from certificates import Certified, authority
from guarded_brokers import GuardedBroker

from instar_controller import kafka_security
from instar_controller.clients.kafka.bus import KafkaBus
from instar_controller.clients.kafka.settings import KafkaSettings
from instar_controller.clients.kafka.stores import Identity
from instar_controller.cluster_ports import From, TopicSettings
from instar_controller.errors import BusError, SettingsError
from instar_controller.kafka_security import SSL, Security

pytestmark = [pytest.mark.system, pytest.mark.timeout(300)]

WAIT_S = 60.0


@pytest.fixture(scope="module")
def ours() -> Certified:
    return authority("ours")


@pytest.fixture(scope="module")
def us(ours: Certified) -> Certified:
    """Whom brokers let in. Somebody between the authority and us vouches for us, as it often is."""
    return ours.vouch("between", is_authority=True).vouch("us")


@pytest.fixture(scope="module")
def known(ours: Certified, us: Certified) -> Security:
    return Security(SSL, ours.pem().decode(), Identity(us.pem().decode(), us.key_pem().decode()), True)


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory, ours: Certified, known: Security) -> Iterator[GuardedBroker]:
    """One that lets nobody in without a certificate."""
    folder = tmp_path_factory.mktemp("guarded")
    context = guarded_brokers.server_context(folder, ours.vouch("broker", address="127.0.0.1"), clients=ours)
    with guarded_brokers.running(folder, kafka_security.configuration(known), context=context) as made:
        yield made


def bus(hosts: str, security: Security, *, answer_s: float = WAIT_S) -> contextlib.closing[KafkaBus]:
    more = kafka_security.configuration(security)
    return contextlib.closing(KafkaBus(KafkaSettings(hosts, answer_s=answer_s, send_s=WAIT_S, more=more)))


def test_messages_come_and_go_over_tls(broker: GuardedBroker, known: Security) -> None:
    with bus(broker.hosts, known) as made:
        made.ensure_topic("invoker0", TopicSettings())
        made.send("invoker0", b"a message").result(WAIT_S)
        with contextlib.closing(made.subscribe("invoker0", "invoker0", begin=From.EARLIEST)) as reader:
            deadline_s = time.monotonic() + WAIT_S
            while not (found := reader.poll(timeout_s=1.0, most=1)) and time.monotonic() < deadline_s:
                pass
            assert [message.value for message in found] == [b"a message"]


def refused(hosts: str, security: Security, caplog: pytest.LogCaptureFixture) -> str:
    """What is logged of a bus that cannot be had."""
    with caplog.at_level(logging.WARNING), bus(hosts, security, answer_s=0.5) as made:
        with pytest.raises(BusError):
            made.ensure_topic("invoker0", TopicSettings())
        deadline_s = time.monotonic() + WAIT_S
        while not (told := [line for line in caplog.messages if "Certificate" in line or "certificate" in line]):
            assert time.monotonic() < deadline_s, caplog.messages
            time.sleep(0.05)
        assert not made.is_up()
    assert len(told) == 1, "it is told once"
    return told[0]


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("instar_controller.clients.kafka.bus.TRIES", 1)


@pytest.mark.usefixtures("impatient")
def test_a_broker_that_nobody_vouches_for_is_no_broker(
    broker: GuardedBroker, known: Security, caplog: pytest.LogCaptureFixture
) -> None:
    others = replace(known, authorities=authority("others").pem().decode(), checks_names=False)
    assert "nobody in the truststore vouches for it" in refused(broker.hosts, others, caplog)


@pytest.mark.usefixtures("impatient")
def test_a_broker_of_another_host_is_none_where_names_are_checked(
    broker: GuardedBroker, known: Security, caplog: pytest.LogCaptureFixture
) -> None:
    hosts = broker.hosts.replace("127.0.0.1", "localhost")  # of which its certificate says nothing
    with bus(hosts, replace(known, checks_names=False)) as made:
        made.ensure_topic("unchecked", TopicSettings())
    assert "it is of another host" in refused(hosts, known, caplog)


@pytest.mark.usefixtures("impatient")
def test_who_has_no_certificate_is_told_that_one_is_wanted(
    broker: GuardedBroker, known: Security, caplog: pytest.LogCaptureFixture
) -> None:
    said = refused(broker.hosts, replace(known, identity=None), caplog)
    assert "the broker wants a certificate of ours; name a keystore" in said


@pytest.mark.usefixtures("impatient")
def test_who_has_a_certificate_of_strangers_is_told_that_it_is_not_accepted(
    broker: GuardedBroker, known: Security, caplog: pytest.LogCaptureFixture
) -> None:
    stranger = authority("others").vouch("stranger")
    identity = Identity(stranger.pem().decode(), stranger.key_pem().decode())
    said = refused(broker.hosts, replace(known, identity=identity), caplog)
    assert "the broker does not accept our certificate" in said


def test_a_key_that_is_not_the_certificates_ends_the_start(known: Security, us: Certified) -> None:
    wrong = Identity(us.pem().decode(), authority("others").key_pem().decode())
    with (
        pytest.raises(SettingsError, match="no client of Kafka can be made"),
        bus("127.0.0.1:1", replace(known, identity=wrong)),
    ):
        pass


def test_the_tests_broker_lets_nobody_in_without_tls(broker: GuardedBroker) -> None:
    """Or the tests above would show nothing."""
    with bus(broker.hosts, Security(), answer_s=0.5) as made, pytest.raises(BusError):
        made.committed("invoker0", "invoker0")
