"""deploy/compose.yaml, as far as it can be held to anything without pulling an image: its form, what its services are
told, and that they are told the same."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
from typing import Any

import composition
import pytest
from deploy.image import names

import instar
from instar_controller import cluster_settings, cluster_variables, variables
from instar_controller.variables import Program
from instar_controller.whisk import manifest as manifests

NODES = ("node-1", "node-2")
OURS = ("dispatcher", *NODES)
JOBS = ("databases", "store")  # that end

# What a stock controller of any version reads, beside `CONFIG_whisk_spi_…`: the names of its own configuration and
# of the chart's. Whatever is not here would be ignored by it, and so be a mistake.
STOCK = {
    *("KAFKA_HOSTS", "PORT", "RUNTIMES_MANIFEST", "CONTROLLER_INSTANCES", "JAVA_OPTS"),
    *("WHISK_API_HOST_PROTO", "WHISK_API_HOST_NAME", "WHISK_API_HOST_PORT"),
    *("LIMITS_ACTIONS_INVOKES_PERMINUTE", "LIMITS_ACTIONS_INVOKES_CONCURRENT"),
    *("LIMITS_TRIGGERS_FIRES_PERMINUTE", "LIMITS_ACTIONS_SEQUENCE_MAXLENGTH"),
    *(f"CONFIG_whisk_couchdb_{name}" for name in ("protocol", "host", "port", "username", "password", "provider")),
    *(f"CONFIG_whisk_couchdb_databases_{name}" for name in ("WhiskAuth", "WhiskEntity", "WhiskActivation")),
    *(
        f"CONFIG_whisk_{limit}_{end}"
        for end in ("min", "std", "max")
        for limit in ("memory", "timeLimit", "logLimit")
    ),
    *(f"CONFIG_whisk_concurrencyLimit_{end}" for end in ("min", "std", "max")),
    *("CONFIG_whisk_kafka_topics_prefix", "CONFIG_whisk_userEvents_enabled", "CONFIG_whisk_activation_payload_max"),
    *("CONFIG_whisk_info_date", "CONFIG_whisk_info_buildNo"),
}
CLASSIC_PLANE = {
    "CONFIG_whisk_spi_LoadBalancerProvider": "org.apache.openwhisk.core.loadBalancer.ShardingContainerPoolBalancer",
    "CONFIG_whisk_spi_EntitlementSpiProvider": "org.apache.openwhisk.core.entitlement.LocalEntitlementProvider",
}


@pytest.fixture(scope="module")
def services() -> Any:
    """Each service by its name, with what .env says put in."""
    return composition.services(composition.filled_in())


def test_it_is_valid_by_the_compose_specification() -> None:
    if importlib.util.find_spec("check_jsonschema") is None:
        if os.environ.get("CI") == "true":
            pytest.fail("check-jsonschema, which brings the specification's schema, is not installed")
        pytest.skip("needs check-jsonschema, which brings the specification's schema")
    command = ["-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(composition.FILE)]
    done = subprocess.run([sys.executable, *command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_env_example_has_every_variable_that_has_to_be_set_and_none_that_nothing_reads() -> None:
    text = composition.FILE.read_text(encoding="utf-8")
    asked = {name: how for name, how, _ in composition.VARIABLE.findall(text)}
    assert set(composition.example()) <= set(asked)
    assert {name for name, how in asked.items() if how != ":-"} <= set(composition.example())
    assert {name for name in asked if name not in composition.example()} == {"INSTAR_IMAGE"}  # for who builds another


def test_the_defaults_are_those_of_env_example() -> None:
    text = composition.FILE.read_text(encoding="utf-8")
    written = {name: rest for name, how, rest in composition.VARIABLE.findall(text) if how == ":-"}
    example = composition.example()
    assert {name: rest for name, rest in written.items() if name in example} == {
        name: example[name] for name in written if name in example
    }


@pytest.mark.parametrize("blank", composition.FILLED_IN)
def test_what_is_left_blank_is_asked_for(blank: str) -> None:
    with pytest.raises(KeyError, match=blank):
        composition.services({**composition.filled_in(), blank: ""})


def test_no_secret_stands_in_the_files() -> None:
    document = composition.read()
    secrets = [
        (service, name, value)
        for service, described in document["services"].items()
        for name, value in described.get("environment", {}).items()
        if re.search(r"password|secret|token|key", name, re.IGNORECASE)
    ]
    assert secrets
    assert [one for one in secrets if not one[2].startswith("${")] == []
    assert {composition.example()[name] for name in composition.FILLED_IN} == {""}


@pytest.mark.parametrize("service", OURS)
def test_our_programs_are_given_variables_that_they_read_and_no_others(services: Any, service: str) -> None:
    program = Program.DISPATCHER if service == "dispatcher" else Program.INVOKER
    read = {variable.name for variable in variables.of(program, cluster_variables.ALL)}
    given = set(services[service]["environment"])
    # What the whole cluster has to agree on is given to everybody.
    assert given - read - set(composition.read()["x-cluster"]) == set()
    assert given & set(composition.read()["x-cluster"]) == set(composition.read()["x-cluster"])


def test_the_stock_controller_is_given_only_what_it_reads(services: Any) -> None:
    given = services["controller"]["environment"]
    assert set(given) - set(CLASSIC_PLANE) - STOCK == set()


def test_the_controller_pushes_to_invokers(services: Any) -> None:
    given = services["controller"]["environment"]
    assert {name: given[name] for name in CLASSIC_PLANE} == CLASSIC_PLANE


def test_the_manifest_is_the_one_of_this_folder_for_everybody(services: Any) -> None:
    deployed = json.loads((names.DEPLOY / "runtimes.json").read_text(encoding="utf-8"))
    texts = {services[name]["environment"]["RUNTIMES_MANIFEST"] for name in ("controller", *OURS)}
    assert [json.loads(text) for text in texts] == [deployed]
    kinds = manifests.parse(deployed)
    assert kinds.resolve("nodejs:default") is not None  # a controller does not start without one
    kind = kinds.resolve("pytorch:2")
    assert kind is not None
    assert kind.image == names.IMAGE


def test_our_image_is_the_one_that_this_checkout_makes(services: Any) -> None:
    assert {services[name]["image"] for name in (*OURS, *JOBS)} == {names.CONTROLLER_IMAGE}
    assert services["profile"]["image"] == names.IMAGE
    assert names.CONTROLLER_IMAGE.rpartition(":")[2] == instar.__version__


def test_dispatcher_and_nodes_understand_what_they_are_told_and_mean_the_same(services: Any) -> None:
    dispatcher = cluster_settings.dispatcher(services["dispatcher"]["environment"], {})
    nodes = [cluster_settings.invoker(services[name]["environment"], {}) for name in NODES]
    for node in nodes:
        assert node.program.bus == dispatcher.program.bus
        assert node.program.database == dispatcher.program.database
        assert node.docker is not None
        assert isinstance(node.role, cluster_settings.NodeSettings)
        assert node.role.fence_s < dispatcher.dead_s
        assert node.limits == nodes[0].limits
        assert node.manifest == dispatcher.manifest
        assert node.pool.memory_mb >= node.limits.memory_mb.most  # else the largest action would fit nowhere
    assert len({node.name for node in nodes}) == len(nodes)
    assert dispatcher.instance.number == 0


def test_the_controller_is_told_the_same_as_our_programs(services: Any) -> None:
    controller = services["controller"]["environment"]
    for name in OURS:
        ours = services[name]["environment"]
        shared = (set(controller) & set(ours)) - {"PORT"}
        assert {one: ours[one] for one in shared} == {one: controller[one] for one in shared}
        assert set(composition.read()["x-cluster"]) <= shared


def test_only_loopback_ports_are_published(services: Any) -> None:
    published = [port for service in services.values() for port in service.get("ports", [])]
    assert published
    assert [port for port in published if not re.fullmatch(r"127\.0\.0\.1:\d+:8080", port)] == []
    assert len(set(published)) == len(published)


def test_whoever_waits_waits_for_something_that_tells(services: Any) -> None:
    for name, service in services.items():
        for other, how in service.get("depends_on", {}).items():
            told = services[other]
            if how["condition"] == "service_healthy":
                assert "healthcheck" in told, f"{name} waits for the health of {other}, which nobody checks"
            else:
                assert how["condition"] == "service_completed_successfully"
                assert other in JOBS
                assert "restart" not in told


def test_a_node_waits_for_the_bus_the_databases_and_the_store(services: Any) -> None:
    for name in NODES:
        assert set(services[name]["depends_on"]) == {"kafka", "databases", "store"}
    assert set(services["dispatcher"]["depends_on"]) >= {"controller", "databases"}


def test_a_node_s_store_has_the_same_path_inside_and_outside(services: Any) -> None:
    for name in (*NODES, "store"):
        described = services[name]
        binds = [volume for volume in described["volumes"] if isinstance(volume, dict)]
        assert [bind["source"] == bind["target"] for bind in binds] == [True]
        if name in NODES:
            assert described["environment"]["INSTAR_STORE"] == binds[0]["source"]
            assert "/var/run/docker.sock:/var/run/docker.sock" in described["volumes"]
        else:
            assert described["entrypoint"][-1] == binds[0]["source"]


def test_functions_share_a_network_with_the_api_and_the_nodes_alone(services: Any) -> None:
    network = composition.read()["networks"]["functions"]["name"]
    beside = {name for name, service in services.items() if "functions" in service.get("networks", [])}
    assert beside == {"controller", *NODES}
    for name in NODES:
        assert services[name]["environment"]["CONFIG_whisk_containerFactory_containerArgs_network"] == network


@pytest.mark.parametrize("service", OURS)
def test_our_programs_have_no_rights_beyond_what_they_need(services: Any, service: str) -> None:
    described = services[service]
    assert (described["read_only"], described["cap_drop"]) == (True, ["ALL"])
    assert "user" not in described  # the image's own, who is not root
    assert ("group_add" in described) == (service in NODES)


@pytest.mark.parametrize("service", OURS)
def test_a_program_is_not_the_first_process_of_its_container_which_hears_signals_late(
    services: Any, service: str
) -> None:
    assert services[service]["init"] is True


@pytest.mark.parametrize("service", OURS)
def test_a_program_is_given_the_time_to_drain(services: Any, service: str) -> None:
    program = cluster_settings.dispatcher if service == "dispatcher" else cluster_settings.invoker
    drain_s = program(services[service]["environment"], {}).program.drain_s
    assert drain_s < int(services[service]["stop_grace_period"].removesuffix("s"))


def test_a_profile_is_measured_only_if_somebody_asks_and_nodes_find_it_where_it_is_kept(services: Any) -> None:
    described = services["profile"]
    assert described["profiles"] == ["measure"]
    assert not any("profile" in service.get("depends_on", {}) for service in services.values())
    volume, _, place = described["volumes"][0].partition(":")
    assert described["entrypoint"] == ["instar", "profile", "--out", place]
    for name in NODES:
        assert f"{volume}:{place}:ro" in services[name]["volumes"]
        settings = cluster_settings.invoker(services[name]["environment"], {})
        assert settings.planning is None  # until INSTAR_COSTS names one
