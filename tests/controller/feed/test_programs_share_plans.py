"""What `instar dispatcher` and `instar invoker` are made of, as far as plans go, over a server and by their settings:
the one registers and plans, the other offers."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from databases import PASSWORD, USERNAME, Databases
from faulty_proxy import FaultyProxy
from sharing import CHEAP, Cluster, await_offer, models

from instar import profiles
from instar.plan.fit import Error
from instar.profiles import Profile
from instar_controller import cluster_settings, sharing_plans
from instar_controller.clients.couch.connection import Connection, CouchSettings

pytestmark = pytest.mark.system


def test_what_a_dispatcher_registers_a_node_offers(
    couch_cluster: Cluster, faulty_database: FaultyProxy, databases: Databases, tmp_path: Path
) -> None:
    error = Error(0, 0.0, 0.0, 1.0)
    profile = profiles.write(tmp_path, Profile(CHEAP, error, error, "this test"))
    environment = {
        "KAFKA_HOSTS": "127.0.0.1:1",
        "CONFIG_whisk_couchdb_host": faulty_database.host,
        "CONFIG_whisk_couchdb_port": str(faulty_database.port),
        "CONFIG_whisk_couchdb_username": USERNAME,
        "CONFIG_whisk_couchdb_password": PASSWORD,
        "CONFIG_whisk_couchdb_databases_WhiskAuth": databases.subjects,
        "CONFIG_whisk_couchdb_databases_WhiskEntity": databases.entities,
        "CONFIG_whisk_couchdb_databases_WhiskActivation": databases.activations,
        "INSTAR_PLANS_DATABASE": couch_cluster.shared_name,
        "INSTAR_CONTAINERS": "process",
        "INSTAR_INVOKER_ID": "0",
        "INSTAR_STATE": str(tmp_path / "state"),
        "INSTAR_COSTS": str(profile),
    }
    first, second = models(2)
    couch_cluster.put("a", first)
    dispatcher, invoker = cluster_settings.dispatcher(environment, {}), cluster_settings.invoker(environment, {})
    assert invoker.planning is not None
    settings = CouchSettings(port=faulty_database.port, username=USERNAME, password=PASSWORD)
    with contextlib.ExitStack() as stack:
        connection = stack.enter_context(contextlib.closing(Connection(settings)))
        node = stack.enter_context(sharing_plans.offered(invoker.program, invoker.planning, environment))
        stack.enter_context(
            sharing_plans.registered(
                dispatcher.program, dispatcher.manifest, connection, environment, owner="dispatcher0"
            )
        )
        couch_cluster.put("b", second)
        a, b = couch_cluster.key("a"), couch_cluster.key("b")
        await_offer(node, a, b, (first.digest, second.digest))
        await_offer(node, b, b, (second.digest, second.digest))
