"""What the environment and the command line say, as settings of `instar invoker` and `instar dispatcher`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from instar_controller import cluster_settings, cluster_variables, variables
from instar_controller.cluster_settings import InstanceSettings, NodeSettings
from instar_controller.errors import SettingsError
from instar_controller.policies.prewarm import StemCells
from instar_controller.variables import Program
from instar_controller.whisk.limits import Bounds
from instar_controller.whisk.manifest import DEFAULT
from instar_controller.whisk.store_level import StoreLevel, StoreLevels

LEAST = {
    "KAFKA_HOSTS": "kafka-0:9092,kafka-1:9092",
    "CONFIG_whisk_couchdb_host": "couch",
    "CONFIG_whisk_couchdb_databases_WhiskAuth": "test_subjects",
    "CONFIG_whisk_couchdb_databases_WhiskEntity": "test_whisks",
    "CONFIG_whisk_couchdb_databases_WhiskActivation": "test_activations",
    "INSTAR_INVOKER_ID": "3",
    "HOME": "/home/o",
}
RUNTIMES = {
    "nodejs": [{"kind": "nodejs:20", "image": {"prefix": "openwhisk", "name": "nodejs-v20", "tag": "nightly"}}],
    "python": [
        {
            "kind": "python:3.11",
            "image": {"registry": "here:5000", "name": "python"},
            "stemCells": [{"initialCount": 2, "memory": "256 MB"}],
        }
    ],
}


def invoker(**changed: str) -> cluster_settings.InvokerSettings:
    return cluster_settings.invoker({**LEAST, **changed}, {})


def address(chosen: cluster_settings.InvokerSettings) -> tuple[str, str, int]:
    database = chosen.program.database
    return database.protocol, database.host, database.port


def test_little_has_to_be_said_and_the_rest_is_as_in_the_stock_invoker() -> None:
    chosen = invoker()
    assert chosen.role == InstanceSettings(3, None, None)
    assert chosen.name == "invoker3"
    assert chosen.program.bus.hosts == ("kafka-0:9092", "kafka-1:9092")
    assert chosen.program.bus.max_message_bytes == 1_054_644  # as recorded of the stock invoker's topics
    assert (chosen.program.bus.prefix, chosen.program.bus.sends_events) == ("", False)
    assert address(chosen) == ("http", "couch", 5984)
    assert (chosen.program.operations.host, chosen.program.operations.port) == ("127.0.0.1", 8080)
    assert (chosen.program.operations.username, chosen.program.operations.password) == (
        "invoker.user",
        "invoker.pass",
    )
    assert (chosen.pool.memory_mb, chosen.pool.patience.pause_grace_s) == (1024, 10.0)
    assert chosen.pool.patience.keep_alive_s == 610.0
    assert chosen.limits.memory_mb == Bounds(128, 256, 512)
    assert chosen.limits.timeout_ms == Bounds(100, 60_000, 300_000)
    assert chosen.docker is not None and chosen.docker.network == "bridge"
    assert chosen.manifest is DEFAULT
    assert chosen.program.state == Path("/home/o/.local/state/instar/invoker3")
    assert chosen.store == Path("/home/o/.cache/instar") or chosen.store is not None


def test_the_stock_names_are_read() -> None:
    chosen = invoker(
        CONFIG_whisk_kafka_topics_prefix="one.",
        CONFIG_whisk_kafka_topics_userEvent_prefix="two.",
        CONFIG_whisk_kafka_replicationFactor="3",
        CONFIG_whisk_userEvents_enabled="true",
        CONFIG_whisk_couchdb_protocol="https",
        CONFIG_whisk_couchdb_port="6984",
        CONFIG_whisk_couchdb_username="who",
        CONFIG_whisk_couchdb_password="secret",
        CONFIG_whisk_activation_payload_max="2 MB",
        CONFIG_whisk_containerPool_userMemory="2048m",
        CONFIG_whisk_containerProxy_timeouts_pauseGrace="50 milliseconds",
        CONFIG_whisk_containerProxy_timeouts_idleContainer="2 minutes",
        CONFIG_whisk_containerFactory_containerArgs_network="ours",
        CONFIG_whisk_memory_max="1g",
        CONFIG_whisk_timeLimit_max="10m",
        WHISK_API_HOST_PROTO="http",
        WHISK_API_HOST_PORT="31001",
        WHISK_API_HOST_NAME="api.example",
        PORT="8085",
        INVOKER_NAME="owdev-invoker-3",
        INSTAR_DISPLAYED_NAME="172.18.0.4",
    )
    bus, database = chosen.program.bus, chosen.program.database
    assert (bus.prefix, bus.events_prefix, bus.sends_events) == ("one.", "two.", True)
    assert (bus.invoker_topic.replication, bus.max_message_bytes) == (3, (2 << 20) + 6068)
    assert (database.protocol, database.port) == ("https", 6984)
    assert (database.username, database.password) == ("who", "secret")
    assert (chosen.pool.memory_mb, chosen.pool.patience.pause_grace_s) == (2048, 0.05)
    assert chosen.pool.patience.keep_alive_s == 120.05
    assert chosen.docker is not None and chosen.docker.network == "ours"
    assert (chosen.limits.memory_mb.most, chosen.limits.timeout_ms.most) == (1024, 600_000)
    assert (chosen.limits.max_result_bytes, chosen.engine.max_result_bytes) == (2 << 20, 2 << 20)
    assert chosen.api_host == "http://api.example:31001"
    assert chosen.program.operations.port == 8085
    assert chosen.role == InstanceSettings(3, "owdev-invoker-3", "172.18.0.4")


def test_secrets_are_not_shown() -> None:
    chosen = invoker(CONFIG_whisk_couchdb_password="secret-1", CONFIG_whisk_invoker_password="secret-2")
    assert "secret" not in repr(chosen)


def test_the_command_line_comes_before_the_environment() -> None:
    assert cluster_settings.invoker({**LEAST, "PORT": "1"}, {"PORT": "2"}).program.operations.port == 2


def test_a_configuration_value_may_be_the_name_of_another_variable() -> None:
    assert address(invoker(CONFIG_whisk_couchdb_host="$WHERE", WHERE="there"))[1] == "there"


def test_an_empty_value_is_none() -> None:
    assert invoker(CONFIG_whisk_kafka_topics_prefix="", PORT="").program.operations.port == 8080


@pytest.mark.parametrize(("name", "number"), [("owdev-invoker-12", 12), ("invoker0", 0), ("7", 7)])
def test_an_id_may_be_the_number_of_a_pod(name: str, number: int) -> None:
    chosen = invoker(INSTAR_INVOKER_ID="from-name", INVOKER_NAME=name)
    assert isinstance(chosen.role, InstanceSettings) and chosen.role.number == number


@pytest.mark.parametrize("name", ["", "node-a", "3-node"])
def test_a_name_without_a_number_gives_no_id(name: str) -> None:
    with pytest.raises(SettingsError, match="does not end in a number"):
        invoker(INSTAR_INVOKER_ID="from-name", INVOKER_NAME=name)


def test_without_a_number_it_says_what_is_supported() -> None:
    without = {key: value for key, value in LEAST.items() if key != "INSTAR_INVOKER_ID"}
    with pytest.raises(SettingsError, match="give --id N, or --id from-name"):
        cluster_settings.invoker(without, {})
    with pytest.raises(SettingsError, match="INVOKER_NAME is not either: an invoker needs a number"):
        cluster_settings.dispatcher({**without, "ZOOKEEPER_HOSTS": "zoo:2181"}, {})


def test_a_node_has_a_name_instead_of_a_number() -> None:
    without = {key: value for key, value in LEAST.items() if key != "INSTAR_INVOKER_ID"}
    node = {**without, "INSTAR_DISPATCHED": "true"}
    assert cluster_settings.invoker({**node, "INSTAR_NODE_NAME": "a"}, {}).role == NodeSettings("a", 5.0)
    assert cluster_settings.invoker({**node, "INVOKER_NAME": "b"}, {}).role == NodeSettings("b", 5.0)
    with pytest.raises(SettingsError, match="a node needs a name that no other has"):
        cluster_settings.invoker(node, {})
    with pytest.raises(SettingsError, match="a node has no number of its own"):
        cluster_settings.invoker({**node, "INVOKER_NAME": "b", "INSTAR_INVOKER_ID": "1"}, {})


def test_processes_are_never_paused() -> None:
    chosen = invoker(INSTAR_CONTAINERS="process")
    assert chosen.docker is None and chosen.pool.patience.pause_grace_s is None


def test_all_records_are_stored_unless_a_level_says_otherwise() -> None:
    assert invoker().store_levels == StoreLevels(StoreLevel.ALWAYS, StoreLevel.ALWAYS)
    assert not invoker().tells_unstored
    chosen = invoker(
        CONFIG_whisk_activation_storeBlockingResultLevel="STORE_FAILURES_NOT_APPLICATION_ERRORS",
        CONFIG_whisk_activation_storeNonBlockingResultLevel="store_failures",
        CONFIG_whisk_activation_unstoredLogsEnabled="true",
    )
    assert chosen.store_levels == StoreLevels(StoreLevel.NOT_APPLICATION_ERRORS, StoreLevel.FAILURES)
    assert chosen.tells_unstored


def test_the_older_name_of_a_level_counts_where_the_newer_is_not_set() -> None:
    older = {"CONFIG_whisk_activation_disableStoreResult": "true"}
    assert invoker(**older).store_levels == StoreLevels(StoreLevel.FAILURES, StoreLevel.ALWAYS)
    newer = {"CONFIG_whisk_activation_storeBlockingResultLevel": "STORE_ALWAYS"}
    assert invoker(**older, **newer).store_levels == StoreLevels(StoreLevel.ALWAYS, StoreLevel.ALWAYS)


def test_the_manifest_is_a_text_or_a_file(tmp_path: Path) -> None:
    text = json.dumps({"runtimes": RUNTIMES})
    file = tmp_path / "runtimes.json"
    file.write_text(text)
    told = invoker(RUNTIMES_MANIFEST=text)
    assert told.manifest == invoker(INSTAR_MANIFEST=str(file)).manifest
    assert [kind.kind for kind in told.manifest.kinds] == ["nodejs:20", "python:3.11"]
    assert told.pool.stem_cells == (StemCells("python:3.11", 256, 2),)
    assert invoker(RUNTIMES_MANIFEST=text, INSTAR_PREWARM="nodejs:20:128:1").pool.stem_cells == (
        StemCells("nodejs:20", 128, 1),
    )
    assert invoker(RUNTIMES_MANIFEST=text, INSTAR_PREWARM="none").pool.stem_cells == ()


def test_kinds_without_sentinels_are_told_to_whoever_reads_logs() -> None:
    (kind,) = RUNTIMES["nodejs"]
    text = json.dumps({"runtimes": {**RUNTIMES, "nodejs": [{**kind, "sentinelledLogs": False}]}})
    assert invoker(RUNTIMES_MANIFEST=text).engine.unmarked_kinds == {"nodejs:20"}


def test_a_registry_is_that_of_images_that_name_none() -> None:
    text = json.dumps({"runtimes": RUNTIMES})
    chosen = invoker(RUNTIMES_MANIFEST=text, CONFIG_whisk_containerFactory_runtimesRegistry_url="there:5000/")
    assert [kind.image for kind in chosen.manifest.kinds] == [
        "there:5000/openwhisk/nodejs-v20:nightly",
        "here:5000/python",
    ]


def test_users_images_have_a_registry_of_their_own() -> None:
    usual = invoker().docker
    chosen = invoker(CONFIG_whisk_containerFactory_userImagesRegistry_url="there:5000/users/").docker
    assert usual is not None and usual.users_registry == ""
    assert chosen is not None and chosen.users_registry == "there:5000/users"


@pytest.mark.parametrize("name", [name for name in LEAST if name not in ("HOME", "INSTAR_INVOKER_ID")])
def test_what_has_no_default_has_to_be_said(name: str) -> None:
    with pytest.raises(SettingsError, match=f"{name} is not set"):
        cluster_settings.invoker({key: value for key, value in LEAST.items() if key != name}, {})


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("INSTAR_INVOKER_ID", "-1", "a whole number from 0 on, or 'from-name'"),
        ("INSTAR_INVOKER_ID", str(1 << 31), "beyond 2147483647"),
        ("KAFKA_HOSTS", "kafka", "'kafka' is none"),
        ("KAFKA_HOSTS", "kafka:0", "'kafka:0' is none"),
        ("CONFIG_whisk_kafka_common_securityProtocol", "TLS", "write one of 'PLAINTEXT', 'SSL'"),
        ("CONFIG_whisk_kafka_common_securityProtocol", "SASL_SSL", "saslMechanism is not set"),
        ("CONFIG_whisk_kafka_topics_prefix", "a b", "as in a topic's name"),
        ("CONFIG_whisk_couchdb_host", "http://couch:5984", "is no host"),
        ("CONFIG_whisk_couchdb_protocol", "ftp", "'http', 'https'"),
        ("CONFIG_whisk_couchdb_databases_WhiskEntity", "Whisks", "a database's name"),
        ("CONFIG_whisk_containerPool_userMemory", "2048", "no whole number of MB"),
        ("CONFIG_whisk_containerPool_userMemory", "64m", "an action needs 128 MB at least"),
        ("CONFIG_whisk_containerPool_userMemory", "much", "write a size"),
        ("CONFIG_whisk_memory_max", "64m", "the least must not be above the usual one"),
        ("CONFIG_whisk_containerProxy_timeouts_pauseGrace", "10", "write a duration with its unit"),
        ("CONFIG_whisk_containerFactory_containerArgs_network", "host", "no address of their own"),
        ("CONFIG_whisk_activation_storeBlockingResultLevel", "STORE_NOTHING", "'STORE_ALWAYS', 'STORE_FAILURES'"),
        ("CONFIG_whisk_activation_disableStoreResult", "perhaps", "'true' or 'false'"),
        ("CONFIG_whisk_containerFactory_userImagesRegistry_url", "https://there", "without 'https://'"),
        ("CONFIG_whisk_containerFactory_runtimesRegistry_url", "https://there", "without 'https://'"),
        ("INSTAR_INVOKER_ID", "٣", "a whole number from 0 on"),
        ("INSTAR_INVOKER_ID", "9" * 5000, "9{100}…': write a whole number from 0 on"),
        ("CONFIG_whisk_memory_max", "9" * 5000, "9{100}…': write a size"),
        ("PORT", "9" * 5000, "9{100}…': write a whole number"),
        ("KAFKA_HOSTS", "kafka:٣", "'kafka:٣' is none"),
        ("KAFKA_HOSTS", ",", "write HOST:PORT"),
        ("KAFKA_HOSTS", "a b:9092", "'a b:9092' is none"),
        ("KAFKA_HOSTS", "::1:9092", "'::1:9092' is none"),
        ("CONFIG_whisk_kafka_topics_prefix", "p" * 131, "at most 130 letters"),
        ("CONFIG_whisk_kafka_replicationFactor", "32768", "from 1 to 32767"),
        ("CONFIG_whisk_kafka_topics_invoker_partitions", "0", "from 1 to 2147483647"),
        ("CONFIG_whisk_kafka_topics_invoker_retentionMs", "9" * 19, "from 1 to 9223372036854775807"),
        ("CONFIG_whisk_kafka_topics_invoker_retentionBytes", "-1", "a whole number"),
        ("CONFIG_whisk_kafka_topics_invoker_segmentBytes", "2147483648", "from 1 to 2147483647"),
        ("CONFIG_whisk_couchdb_host", "a b", "is no host"),
        ("CONFIG_whisk_couchdb_host", "couch\n", "is no host"),
        ("CONFIG_whisk_couchdb_port", "0", "from 1 to 65535"),
        ("CONFIG_whisk_couchdb_username", "a:b", "without ':'"),
        ("CONFIG_whisk_invoker_username", "a:b", "without ':'"),
        ("CONFIG_whisk_activation_payload_max", "0", "from 1 byte to 900 MB"),
        ("CONFIG_whisk_activation_payload_max", "1 GB", "from 1 byte to 900 MB"),
        ("CONFIG_whisk_blacklist_pollInterval", "0 s", "above 0"),
        ("CONFIG_whisk_blacklist_pollInterval", "9" * 400 + " s", "36500 days at most"),
        ("CONFIG_whisk_timeLimit_max", "9" * 400 + " s", "36500 days at most"),
        ("CONFIG_whisk_memory_min", "0m", "1 MB at least"),
        ("CONFIG_whisk_containerPool_userMemory", "0", "an action needs 128 MB at least"),
        ("CONFIG_whisk_containerPool_userMemory", "8589934592g", "9223372036854775807 bytes at most"),
        ("WHISK_API_HOST_PROTO", "gopher", "'http', 'https'"),
        ("WHISK_API_HOST_NAME", "http://here", "a host, without 'https://'"),
        ("WHISK_API_HOST_PORT", "0", "from 1 to 65535"),
        ("INSTAR_DISPLAYED_NAME", "two\nlines", "on one line"),
        ("INSTAR_AES_128_KEY", "x", "not base64"),
        ("INSTAR_AES_256_KEY", "AAAA", "has 3 bytes; it must have 32"),
        ("INSTAR_PREWARM", "python:3:0:1", "from 1 on"),
        ("INSTAR_PREWARM", "python:3:256:0", "from 1 on"),
        ("INSTAR_COSTS", "/no/such/file", "there is no such file"),
        ("INSTAR_DRAIN", "1e400", "write a number of seconds"),
        ("PORT", "70000", "write a TCP port"),
        ("INSTAR_DRAIN", "-1", "write a"),
        ("INSTAR_DRAIN", "nan", "write a number of seconds"),
        ("INSTAR_CONTAINERS", "pods", "'docker', 'process'"),
        ("INSTAR_PREWARM", "rust:1:128:1", "there is no kind 'rust:1'"),
        ("INSTAR_PREWARM", "python:3:4096:1", "more than the 1024 MB"),
        ("RUNTIMES_MANIFEST", "{", "RUNTIMES_MANIFEST"),
        ("RUNTIMES_MANIFEST", "{}", "an object with a field 'runtimes'"),
        ("INSTAR_MANIFEST", "/no/such/file", "No such file"),
        ("INSTAR_LOG_LEVEL", "loud", "'debug', 'info', 'warning', 'error'"),
    ],
)
def test_what_makes_no_sense_is_refused_with_a_way_out(name: str, value: str, says: str) -> None:
    with pytest.raises(SettingsError, match=says) as caught:
        invoker(**{name: value})
    assert name in str(caught.value)


@pytest.mark.parametrize("value", ["0", "0.05", "901", "1 day", "soon"])
def test_a_node_s_silence_is_within_bounds(value: str) -> None:
    with pytest.raises(SettingsError, match=f"INSTAR_FENCE '{value}': write a"):
        cluster_settings.invoker({**LEAST, "INSTAR_INVOKER_ID": "", "INSTAR_FENCE": value},
                                 {"INSTAR_DISPATCHED": "true", "INSTAR_NODE_NAME": "a"})  # fmt: skip
    with pytest.raises(SettingsError, match=f"INSTAR_DEAD '{value}': write a"):
        cluster_settings.dispatcher({**LEAST, "INSTAR_DEAD": value}, {})


def test_a_manifest_is_refused_where_there_are_no_images() -> None:
    with pytest.raises(SettingsError, match="set INSTAR_CONTAINERS to docker, or leave the manifest out"):
        invoker(INSTAR_CONTAINERS="process", RUNTIMES_MANIFEST=json.dumps({"runtimes": RUNTIMES}))


def test_a_wrong_option_is_named_as_it_was_given() -> None:
    with pytest.raises(SettingsError, match=r"^--port 'x': write"):
        cluster_settings.invoker(LEAST, {"PORT": "x"})


def test_no_address_is_not_taken_for_all_addresses() -> None:
    with pytest.raises(SettingsError, match=r"^--host '': write an address to listen on"):
        cluster_settings.invoker(LEAST, {"INSTAR_HOST": ""})
    assert invoker(INSTAR_HOST="").program.operations.host == "127.0.0.1"  # an empty variable is as none


def test_a_dispatcher_needs_no_containers() -> None:
    chosen = cluster_settings.dispatcher({**LEAST, "INSTAR_DEAD": "7"}, {})
    assert (chosen.instance, chosen.dead_s) == (InstanceSettings(3, None, None), 7.0)
    assert chosen.program.state.name == "dispatcher3"


def test_every_variable_is_in_the_table_once_with_a_default_that_it_takes() -> None:
    found = [variable.name for variable in cluster_variables.ALL]
    assert len(found) == len(set(found)) > 50
    flags = [variable.flag for variable in cluster_variables.ALL if variable.flag]
    assert len(flags) == len(set(flags))
    for variable in cluster_variables.ALL:
        variable.read(variable.default)
    shown = variables.table(cluster_variables.ALL)
    assert all(f"| `{name}` |" in shown for name in found)
    assert len(shown.splitlines()) == len(found) + 2


def test_no_variable_is_left_unread() -> None:
    """Each has a value that is no sense for it, and a program that reads it notices."""
    nonsense = {"text": None, "path": None, "hosts": "x", "Matching": "\0"}
    for variable in cluster_variables.ALL:
        kind = getattr(variable.read, "__name__", type(variable.read).__name__)
        value = nonsense.get(kind, "\0")
        if value is None:
            continue
        make = cluster_settings.invoker if Program.INVOKER in variable.programs else cluster_settings.dispatcher
        given = {**LEAST, variable.name: value}
        if variable.name in ("INSTAR_FENCE", "INSTAR_NODE_NAME"):
            given = {"INVOKER_NAME": "a", **given, "INSTAR_DISPATCHED": "true", "INSTAR_INVOKER_ID": ""}
        with pytest.raises(SettingsError, match=variable.name):
            make(given, {})
