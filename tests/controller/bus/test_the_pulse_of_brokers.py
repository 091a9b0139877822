"""Whether brokers answer is learnt from what the library tells, and a change is logged once."""

from __future__ import annotations

import json
import logging

import pytest
from confluent_kafka import KafkaError

from instar_controller.clients.kafka.pulse import Pulse
from instar_controller.clients.kafka.settings import KafkaSettings

SECOND_US = 1_000_000


@pytest.fixture
def pulse() -> Pulse:
    return Pulse(KafkaSettings("kafka:9092", silent_s=5.0))


def statistics(state: str = "UP", *, waiting: int = 0, received_us: int = 0, sent_us: int = 0) -> str:
    broker = {"state": state, "waitresp_cnt": waiting, "rxidle": received_us, "txidle": sent_us}
    return json.dumps({"brokers": {"kafka:9092/0": broker}})


def test_it_is_not_up_before_anybody_has_answered(pulse: Pulse) -> None:
    assert not pulse.is_up


def test_an_idle_connection_is_up(pulse: Pulse) -> None:
    pulse.measured(statistics(received_us=60 * SECOND_US, sent_us=60 * SECOND_US))
    assert pulse.is_up


def test_a_question_after_a_long_silence_is_not_yet_unanswered(pulse: Pulse) -> None:
    pulse.measured(statistics(waiting=1, received_us=60 * SECOND_US, sent_us=1_000))
    assert pulse.is_up


def test_a_question_without_an_answer_for_long_is_down(pulse: Pulse) -> None:
    pulse.answered()
    pulse.measured(statistics(waiting=1, received_us=6 * SECOND_US, sent_us=6 * SECOND_US))
    assert not pulse.is_up


def test_without_a_connection_it_is_down(pulse: Pulse) -> None:
    pulse.answered()
    pulse.measured(statistics("CONNECT"))
    assert not pulse.is_up


def test_other_errors_of_the_library_change_nothing(pulse: Pulse) -> None:
    pulse.answered()
    pulse.failed(KafkaError(KafkaError._TRANSPORT))
    assert pulse.is_up
    pulse.failed(KafkaError(KafkaError._ALL_BROKERS_DOWN))
    assert not pulse.is_up


def test_a_change_is_logged_once(pulse: Pulse, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        for _ in range(3):
            pulse.answered()
        for _ in range(3):
            pulse.measured(statistics("DOWN"))
    assert [record.levelname for record in caplog.records] == ["INFO", "WARNING"]
    assert all("kafka:9092" in record.message for record in caplog.records)
