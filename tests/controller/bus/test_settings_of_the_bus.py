"""What the library is told: as the stock invoker's clients are, and wrong settings end the start."""

from __future__ import annotations

import pytest

from instar_controller.clients.kafka.bus import KafkaBus
from instar_controller.clients.kafka.settings import KafkaSettings
from instar_controller.errors import SettingsError


def test_messages_are_sent_at_once_one_request_at_a_time_and_for_thirty_seconds() -> None:
    told = KafkaSettings("kafka:9092").of_sender()
    assert told["acks"] == 1
    assert told["linger.ms"] == 0
    assert told["max.in.flight.requests.per.connection"] == 1
    assert told["request.timeout.ms"] == told["message.timeout.ms"] == 30_000
    assert told["message.max.bytes"] == 1024 * 1024 + 6068


def test_a_reader_commits_nothing_by_itself_and_says_where_it_begins() -> None:
    told = KafkaSettings("kafka:9092").of_reader("invoker0")
    assert told["group.id"] == "invoker0"
    assert told["enable.auto.commit"] is told["enable.auto.offset.store"] is False
    assert told["auto.offset.reset"] == "error"
    assert told["fetch.wait.max.ms"] == 500


def test_the_librarys_own_settings_win() -> None:
    settings = KafkaSettings("kafka:9092", more={"security.protocol": "SSL", "acks": "all"})
    assert settings.of_sender()["acks"] == "all"
    assert settings.of_reader("g")["security.protocol"] == settings.of_administrator()["security.protocol"] == "SSL"


def test_a_setting_that_the_library_does_not_know_is_told() -> None:
    with pytest.raises(SettingsError, match=r"kafka:9092.*no\.such\.setting"):
        KafkaBus(KafkaSettings("kafka:9092", more={"no.such.setting": "1"}))
