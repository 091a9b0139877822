"""What the library is told: as the stock invoker's clients are, and wrong settings end the start."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from certificates import authority, write_truststore

from instar_controller import kafka_security
from instar_controller.clients.kafka import jaas
from instar_controller.clients.kafka.bus import KafkaBus
from instar_controller.clients.kafka.jaas import Login
from instar_controller.clients.kafka.settings import KafkaSettings
from instar_controller.errors import SettingsError
from instar_controller.kafka_security import Security
from instar_controller.variables import Given

LOGIN = Login(jaas.PLAIN, "who", "secret")


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


def told(**given: str) -> Security:
    return kafka_security.read(
        Given({f"CONFIG_whisk_kafka_common_{name}": value for name, value in given.items()}, {})
    )


def test_without_settings_brokers_are_spoken_to_in_plain_text() -> None:
    assert told() == Security()
    assert kafka_security.configuration(told()) == {"security.protocol": "PLAINTEXT"}
    # As a stock invoker, that has stores and does not use them.
    assert told(sslTruststoreLocation="/no/such/file", saslMechanism="PLAIN").authorities is None


def test_the_settings_of_tls_are_put_into_the_words_of_the_library(tmp_path: Path) -> None:
    root = authority("root")
    us = root.vouch("us")
    known = told(
        securityProtocol="SSL",
        sslTruststoreLocation=str(write_truststore(tmp_path / "trust.p12", root, password="one")),
        sslTruststorePassword="one",
        sslKeystoreLocation=str(us.write_pkcs12(tmp_path / "us.p12", password="two")),
        sslKeystorePassword="two",
    )
    words = kafka_security.configuration(known)
    assert words == {
        "security.protocol": "SSL",
        "ssl.endpoint.identification.algorithm": "none",  # as in stock invokers
        "ssl.ca.pem": root.pem().decode(),
        "ssl.certificate.pem": us.pem().decode(),
        "ssl.key.pem": us.key_pem().decode(),
    }
    assert "PRIVATE" not in repr(known) + repr(KafkaSettings("kafka:9092", more=words))
    checked = told(securityProtocol="SSL", sslEndpointIdentificationAlgorithm="https")
    assert kafka_security.configuration(checked) == {
        "security.protocol": "SSL",
        "ssl.endpoint.identification.algorithm": "https",
    }


def test_the_settings_of_a_login_are_put_into_the_words_of_the_library() -> None:
    known = told(
        securityProtocol="SASL_PLAINTEXT",
        saslMechanism="SCRAM-SHA-512",
        saslJaasConfig=f'{jaas.SCRAM} required username="who" password="secret";',
    )
    words = kafka_security.configuration(known)
    assert words == {
        "security.protocol": "SASL_PLAINTEXT",
        "sasl.mechanism": "SCRAM-SHA-512",
        "sasl.username": "who",
        "sasl.password": "secret",
    }
    assert "secret" not in repr(known) + repr(KafkaSettings("kafka:9092", more=words))


@pytest.mark.parametrize("security", [Security("SSL"), Security("SASL_SSL", mechanism="PLAIN", login=LOGIN)])
def test_the_library_knows_these_words(security: Security) -> None:
    with contextlib.closing(KafkaBus(KafkaSettings("127.0.0.1:1", more=kafka_security.configuration(security)))):
        pass


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"securityProtocol": "TLS"}, "write one of 'PLAINTEXT', 'SSL'"),
        ({"sslEndpointIdentificationAlgorithm": "ldaps"}, "'https', or nothing"),
        ({"saslMechanism": "GSSAPI"}, "'PLAIN', 'SCRAM-SHA-256', 'SCRAM-SHA-512'"),
        (
            {"securityProtocol": "SSL", "sslTruststoreLocation": "/no/such"},
            "sslTruststoreLocation /no/such: No such file",
        ),
        (
            {"securityProtocol": "SASL_SSL", "sslKeystoreLocation": "/no/such"},
            "sslKeystoreLocation /no/such: No such",
        ),
        ({"securityProtocol": "SASL_SSL"}, "saslMechanism is not set, and Kerberos, which Kafka takes then, is not"),
        ({"securityProtocol": "SASL_SSL", "saslMechanism": "PLAIN"}, 'saslJaasConfig is not set; set it to .*="…";'),
        (
            {"securityProtocol": "SASL_SSL", "saslMechanism": "PLAIN", "saslJaasConfig": "secret"},
            "saslJaasConfig: it does not end with a ';'; write org.apache",
        ),
        (
            {
                "securityProtocol": "SASL_SSL",
                "saslMechanism": "PLAIN",
                "saslJaasConfig": f"{jaas.SCRAM} required username=a password=secret;",
            },
            "its login module is not that of CONFIG_whisk_kafka_common_saslMechanism PLAIN",
        ),
    ],
)
def test_what_makes_no_sense_is_refused_with_a_way_out(given: dict[str, str], says: str) -> None:
    with pytest.raises(SettingsError, match=says) as caught:
        told(**given)
    assert "secret" not in str(caught.value)


def test_a_setting_that_the_library_does_not_know_is_told() -> None:
    with pytest.raises(SettingsError, match=r"kafka:9092.*no\.such\.setting"):
        KafkaBus(KafkaSettings("kafka:9092", more={"no.such.setting": "1"}))
