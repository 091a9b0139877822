"""Brokers that want a login: PLAIN and SCRAM, alone and within TLS."""

from __future__ import annotations

import contextlib
import logging
import time
from dataclasses import replace
from pathlib import Path

import guarded_brokers
import pytest
from certificates import authority

from instar_controller import kafka_security
from instar_controller.clients.kafka import jaas
from instar_controller.clients.kafka.bus import KafkaBus
from instar_controller.clients.kafka.jaas import Login
from instar_controller.clients.kafka.settings import KafkaSettings
from instar_controller.cluster_ports import TopicSettings
from instar_controller.errors import BusError
from instar_controller.kafka_security import SASL_PLAINTEXT, SASL_SSL, Security

pytestmark = [pytest.mark.system, pytest.mark.timeout(300)]

WAIT_S = 60.0
USERS = {"instar": 'se"cret, and = more'}


@pytest.mark.parametrize(("mechanism", "module"), [("PLAIN", jaas.PLAIN), ("SCRAM-SHA-256", jaas.SCRAM)])
def test_who_logs_in_is_let_in_and_nobody_else(
    mechanism: str, module: str, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = Security(SASL_PLAINTEXT, mechanism=mechanism, login=Login(module, "instar", USERS["instar"]))
    told = kafka_security.configuration(known)
    with guarded_brokers.running(tmp_path, told, users=USERS, mechanism=mechanism) as broker:
        with bus(broker.hosts, known) as made:
            made.ensure_topic("invoker0", TopicSettings())
            made.send("invoker0", b"a message").result(WAIT_S)
        monkeypatch.setattr("instar_controller.clients.kafka.bus.TRIES", 1)
        wrong = replace(known, login=Login(module, "instar", "wrong"))
        with caplog.at_level(logging.WARNING), bus(broker.hosts, wrong, answer_s=0.5) as made:
            with pytest.raises(BusError):
                made.ensure_topic("invoker0", TopicSettings())
            deadline_s = time.monotonic() + WAIT_S
            while not (said := [line for line in caplog.messages if "does not let us log in" in line]):
                assert time.monotonic() < deadline_s, caplog.messages
                time.sleep(0.05)
        assert len(said) == 1
        assert "wrong" not in said[0] and broker.hosts in said[0]


def test_a_login_goes_within_tls(tmp_path: Path) -> None:
    ours = authority("ours")
    login = Login(jaas.PLAIN, "instar", USERS["instar"])
    known = Security(SASL_SSL, ours.pem().decode(), checks_names=True, mechanism="PLAIN", login=login)
    context = guarded_brokers.server_context(tmp_path, ours.vouch("broker", address="127.0.0.1"))
    told = kafka_security.configuration(known)
    with (
        guarded_brokers.running(tmp_path, told, context=context, users=USERS) as broker,
        bus(broker.hosts, known) as made,
    ):
        made.ensure_topic("invoker0", TopicSettings())
        made.send("invoker0", b"a message").result(WAIT_S)


def bus(hosts: str, security: Security, *, answer_s: float = WAIT_S) -> contextlib.closing[KafkaBus]:
    more = kafka_security.configuration(security)
    return contextlib.closing(KafkaBus(KafkaSettings(hosts, answer_s=answer_s, send_s=WAIT_S, more=more)))
