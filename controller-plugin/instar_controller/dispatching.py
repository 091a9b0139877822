"""Everything that `instar dispatcher` is, put together and taken apart again.

One rule: as in `invoking`: what was started is stopped, in reverse. A dispatcher that ends, in whatever way, leaves
its nodes at work; what it had not handed to one of them stays in its topic for the next.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Mapping, Sequence
from contextlib import ExitStack

from instar_controller import cluster_parts, roles, sharing_plans
from instar_controller.beginning import Begun
from instar_controller.clients import owners
from instar_controller.clients.clock import SystemClock
from instar_controller.clients.couch.connection import Connection
from instar_controller.clients.couch.database import Database
from instar_controller.clients.couch.entities import CouchEntities
from instar_controller.clients.metrics import Metrics
from instar_controller.cluster_parts import Stopped
from instar_controller.cluster_ports import Bus
from instar_controller.cluster_settings import DispatcherSettings
from instar_controller.engines.acknowledging import Acknowledger, AckTopics
from instar_controller.engines.dispatcher import Dispatcher
from instar_controller.engines.dispatcher import DispatcherSettings as Limits
from instar_controller.engines.keeper import Keeper
from instar_controller.engines.needs import Needs
from instar_controller.engines.outbox import Outbox
from instar_controller.engines.pinging import Pinging
from instar_controller.engines.registration import Registration
from instar_controller.engines.sources import InvokerSource
from instar_controller.engines.topics import Topics
from instar_controller.notices import Announce, Answering, Draining, Working
from instar_controller.operations import Operations
from instar_controller.policies.nodes import Patience
from instar_controller.readiness import Health
from instar_controller.whisk.instances import InvokerInstance

OWN_THREADS = (
    "instar-dispatcher-take",
    "instar-dispatcher-listen",
    "instar-dispatcher-hear",
    "instar-dispatcher-watch",
    "instar-outbox",
    "instar-registration",
    "keeper",
)
ANSWERS_S = 5.0  # at the end, for the last answers to leave


def serve(settings: DispatcherSettings, environment: Mapping[str, str], announce: Announce, begun: Begun) -> None:
    """Work until SIGINT or SIGTERM. To be called from the main thread.

    Raises `StoreError` if the state directory cannot be had.
    """
    program = settings.program
    name = f"invoker{settings.instance.number}"
    with ExitStack() as stack:
        stopping, server = begun
        metrics = stack.enter_context(cluster_parts.counting())
        bus = cluster_parts.bus(program.bus)
        stack.callback(bus.close)
        connection = cluster_parts.connection(program.database)
        stack.callback(connection.close)
        health = Health(bus, cluster_parts.database_asker(connection, program.database.all))
        keeper = stack.enter_context(cluster_parts.keeping(program, connection, announce))
        outbox = Outbox(bus)
        stack.callback(outbox.close, ANSWERS_S)
        dispatcher = _dispatcher(settings, bus, keeper, outbox, connection, metrics)
        registration = Registration(dispatcher, lambda memory_mb: _pinging(settings, bus, memory_mb))
        server.start(
            Operations(
                name,
                registration,
                metrics.exposition,
                lambda: cluster_parts.missing_threads(OWN_THREADS) if health.is_working else (),
                lambda: [*health.obstacles(), *_without_nodes(dispatcher, health)],
            )
        )
        announce(Answering(name, server.url, server.is_loopback))
        stack.enter_context(contextlib.closing(health)).start()
        cluster_parts.watch(metrics, health, keeper)
        _watch(metrics, dispatcher, outbox, registration)
        outbox.start()
        with contextlib.suppress(Stopped):
            cluster_parts.insist(
                "the database",
                lambda: cluster_parts.look_at(connection, program.database.all),
                stopping,
                announce,
            )
            cluster_parts.insist(
                "the bus", cluster_parts.open_on(bus, program.bus, dispatcher.open), stopping, announce
            )
            if program.database.plans is not None:
                registry = stack.enter_context(
                    sharing_plans.registered(program, settings.manifest, connection, environment, owner=name)
                )
                sharing_plans.watch_planning(metrics, registry)
            dispatcher.start()
            stack.callback(dispatcher.close, drain_s=program.drain_s)
            registration.start()
            stack.callback(registration.close)
            health.begin()
            announce(Working(name, Topics(program.bus.prefix).invoker(settings.instance.number)))
            stopping.wait()
            health.end()
            announce(Draining(program.drain_s))


def _dispatcher(
    settings: DispatcherSettings,
    bus: Bus,
    keeper: Keeper,
    outbox: Outbox,
    connection: Connection,
    metrics: Metrics,
) -> Dispatcher:
    program, topics, clock = settings.program, Topics(settings.program.bus.prefix), SystemClock()
    instance = _instance(settings, 0)
    source = InvokerSource(topics.invoker(settings.instance.number), instance)
    answers = AckTopics(topics.completed, roles.events_topic(program.bus))
    return Dispatcher(
        bus,
        keeper,
        Acknowledger(outbox, source, clock, metrics, answers),
        clock,
        topics,
        instance,
        owner=owners.of(program.state),
        needs=Needs(CouchEntities(Database(connection, program.database.entities)), settings.manifest),
        settings=Limits(patience=Patience(dead_s=settings.dead_s), topic=program.bus.invoker_topic),
    )


def _pinging(settings: DispatcherSettings, bus: Bus, memory_mb: int) -> Pinging:
    return Pinging(bus, roles.health_topic(settings.program.bus), _instance(settings, memory_mb))


def _instance(settings: DispatcherSettings, memory_mb: int) -> InvokerInstance:
    """Who we are to controllers; they read the memory in pings only."""
    told = settings.instance
    return InvokerInstance(
        told.number, memory_mb * roles.MIB, unique_name=told.unique_name, displayed_name=told.displayed_name
    )


def _without_nodes(dispatcher: Dispatcher, health: Health) -> Sequence[str]:
    if not health.is_working or dispatcher.snapshot().nodes_alive:
        return ()
    return ("no node is alive",)


def _watch(metrics: Metrics, dispatcher: Dispatcher, outbox: Outbox, registration: Registration) -> None:
    """Have the state of the moment told whenever somebody reads the metrics."""

    def counted() -> Mapping[str, float]:
        counters = dispatcher.snapshot().counters
        return {field.name: getattr(counters, field.name) for field in dataclasses.fields(counters)}

    def memory() -> Mapping[str, float]:
        snapshot = dispatcher.snapshot()
        return {"all": snapshot.memory_mb * roles.MIB, "busy": snapshot.busy_mb * roles.MIB}

    def activations() -> Mapping[str, float]:
        snapshot = dispatcher.snapshot()
        return {"waiting": snapshot.waiting, "open": snapshot.open, "uncommitted": snapshot.uncommitted}

    def nodes() -> Mapping[str, float]:
        snapshot = dispatcher.snapshot()
        return {"alive": snapshot.nodes_alive, "settling": snapshot.nodes_settling}

    metrics.watch_each("instar_dispatched", "Activations since the start, by what became of them.", "what", counted)
    metrics.watch_each("instar_dispatching", "Activations of this moment, by how far they are.", "state", activations)
    metrics.watch_each("instar_nodes", "Nodes that are known.", "state", nodes)
    metrics.watch_each("instar_nodes_memory_bytes", "Memory of the nodes that are alive.", "part", memory)
    metrics.watch("instar_answers_waiting", "Answers that the bus has not taken yet.", lambda: outbox.waiting)
    metrics.watch("instar_enabled", "Whether an operator lets it have work.", lambda: float(registration.is_enabled))
