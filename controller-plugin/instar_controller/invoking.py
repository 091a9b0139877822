"""Everything that `instar invoker` is, put together and taken apart again.

One rule: what was started is stopped, in reverse, whatever made it stop: first no work is taken any more, then what
runs is finished, acknowledged and kept, then the containers go, then bus and database; probes are answered to the
end. What `kill -9` leaves behind the next start of the same invoker finds: containers by their label, records in the
spool, and what was not begun in the topic.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections import Counter
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass

from instar_controller import cluster_parts, making, roles
from instar_controller.clients.clock import SystemClock
from instar_controller.clients.couch.connection import Connection
from instar_controller.clients.couch.database import Database
from instar_controller.clients.couch.entities import CouchEntities
from instar_controller.clients.couch.records import CouchRecords
from instar_controller.clients.couch.subjects import CouchSubjects
from instar_controller.clients.metrics import Metrics
from instar_controller.clients.spool import Spool
from instar_controller.cluster_notices import Answering, Draining, Ended, Prewarmed, Removed, Working
from instar_controller.cluster_parts import Announce, Health, Stopped, Stopping
from instar_controller.cluster_ports import Bus
from instar_controller.cluster_settings import InstanceSettings, InvokerSettings, ProgramSettings
from instar_controller.engines.acknowledging import AckTopics
from instar_controller.engines.blacklist import Blacklist
from instar_controller.engines.experience import Experience
from instar_controller.engines.fetching import Actions
from instar_controller.engines.intake import IntakeSettings
from instar_controller.engines.invoker import Invoker
from instar_controller.engines.keeper import Keeper
from instar_controller.engines.node import Node, NodeSettings
from instar_controller.engines.orders import Remove, Start
from instar_controller.engines.preparing import Preparation
from instar_controller.engines.topics import Topics
from instar_controller.errors import SettingsError
from instar_controller.operations import Operations, OperationsServer
from instar_controller.policies.estimates import PlanOffer
from instar_controller.ports import Containers, Ending, Weights
from instar_controller.roles import InvokerRole, Role
from instar_controller.whisk.invocation import ContainerKey

SPOOL_FOLDER = "spool"
CONTAINERS_FOLDER = "containers"
RECORDS_S = 10.0  # at the end, for the database to take the last records; the spool has what it does not
HEALTH_FAMILY = "nodejs"  # of the controllers' health tests
OWN_THREADS = ("instar-intake", "instar-outbox", "instar-engine-timer", "keeper")


class NoPlans:
    """Plans where nobody makes any."""

    def offer(self, _donor: ContainerKey, _job: ContainerKey) -> PlanOffer | None:
        return None


def serve(settings: InvokerSettings, environment: Mapping[str, str], announce: Announce) -> None:
    """Work until SIGINT or SIGTERM. To be called from the main thread; containers start with `environment`.

    Raises `SettingsError` if the port or the containers' engine cannot be had, `StoreError` if the state directory
    cannot.
    """
    program = settings.program
    with ExitStack() as stack:
        stopping = Stopping()
        server = OperationsServer(program.operations)
        stack.callback(server.close)
        metrics = stack.enter_context(cluster_parts.counting())
        bus = cluster_parts.bus(program.bus)
        stack.callback(bus.close)
        connection = cluster_parts.connection(program.database)
        stack.callback(connection.close)
        health = Health(bus, connection, program.database.all)
        role = _role(settings, bus)
        server.start(
            Operations(
                settings.name,
                role.switch,
                metrics.exposition,
                lambda: cluster_parts.missing_threads(role.threads + OWN_THREADS) if health.is_working else (),
                health.obstacles,
            )
        )
        announce(Answering(settings.name, server.url, server.is_loopback))
        stack.enter_context(contextlib.closing(health)).start()
        keeper = _keeper(program, connection)
        stack.callback(_close_keeper, keeper, announce)
        keeper.start()
        with contextlib.suppress(Stopped):
            _work(settings, environment, announce, _Parts(stopping, metrics, connection, health, role, keeper))


@dataclass(frozen=True, slots=True)
class _Parts:
    """What is there before anything outside has answered, and after nobody works any more."""

    stopping: Stopping
    metrics: Metrics
    connection: Connection
    health: Health
    role: Role
    keeper: Keeper


def _work(settings: InvokerSettings, environment: Mapping[str, str], announce: Announce, parts: _Parts) -> None:
    """Raises `Stopped` if that comes before anything was begun."""
    program, role = settings.program, parts.role
    clock = SystemClock()
    with ExitStack() as stack:
        containers, weights = _containers(settings, environment)
        stack.callback(containers.close)
        stack.callback(weights.close)
        cluster_parts.insist("the bus", role.open, parts.stopping, announce)
        cluster_parts.insist(
            "the database",
            lambda: cluster_parts.look_at(parts.connection, program.database.all),
            parts.stopping,
            announce,
        )
        experience = Experience(NoPlans())
        engine = Invoker(
            containers,
            parts.keeper,
            clock,
            weights,
            pool=settings.pool,
            settings=settings.engine,
            estimate=experience.estimate,
            on_seen=experience.learn,
            on_up=lambda start: _announce_stem_cell(start, announce),
            on_removed=lambda remove, ending: _tell_of_removal(parts.metrics, announce, remove, ending),
        )
        blacklist = Blacklist(
            CouchSubjects(Database(parts.connection, program.database.subjects)),
            interval_s=program.database.blacklist_interval_s,
        )
        entities = CouchEntities(Database(parts.connection, program.database.entities))
        node = Node(
            role.bus,
            role.source,
            Preparation(
                Actions(entities, settings.manifest),
                blacklist,
                clock,
                limits=settings.limits,
                keys=settings.keys,
                runs_health_tests=_runs_health_tests(settings),
            ),
            engine,
            parts.keeper,
            clock,
            parts.metrics,
            AckTopics(Topics(program.bus.prefix).completed, roles.events_topic(program.bus)),
            NodeSettings(IntakeSettings(most_unfinished=settings.engine.queue_length)),
        )
        _watch(parts, node, engine)
        stack.callback(role.close)
        blacklist.start()
        stack.callback(blacklist.close)
        engine.start()
        node.start()
        stack.callback(node.close, drain_s=program.drain_s)
        role.start()
        parts.health.begin()
        announce(Working(settings.name, role.source.topic))
        parts.stopping.wait()
        parts.health.end()
        announce(Draining(program.drain_s))
        role.stop()


def _role(settings: InvokerSettings, bus: Bus) -> Role:
    match settings.role:
        case InstanceSettings() as instance:
            return InvokerRole(bus, settings.program.bus, instance, memory_mb=settings.pool.memory_mb)
        case _:
            raise SettingsError("a node behind dispatchers is not offered yet; leave out --dispatched")


def _keeper(program: ProgramSettings, connection: Connection) -> Keeper:
    clock = SystemClock()
    records = CouchRecords(Database(connection, program.database.activations), clock)
    return Keeper(records, Spool(program.state / SPOOL_FOLDER), clock)


def _close_keeper(keeper: Keeper, announce: Announce) -> None:
    keeper.close(deadline_s=RECORDS_S)
    announce(Ended(keeper.counts().waiting_bytes))


def _runs_health_tests(settings: InvokerSettings) -> bool:
    """Whether there is an image for the kind of the controllers' health tests."""
    return settings.docker is not None and HEALTH_FAMILY in settings.manifest.families


def _watch(parts: _Parts, node: Node, engine: Invoker) -> None:
    """Have the state of the moment told whenever somebody reads the metrics."""
    watch, keeper = parts.metrics.watch, parts.keeper
    watch("instar_unfinished", "Messages that were read and are not answered.", lambda: node.intake.unfinished)
    watch("instar_answers_waiting", "Answers that the bus has not taken yet.", lambda: node.outbox.waiting)
    watch("instar_records_in_hand", "Records in memory, not stored yet.", lambda: keeper.counts().in_hand)
    watch("instar_records_spool_bytes", "Records on the disk, not stored yet.", lambda: keeper.counts().waiting_bytes)
    watch("instar_enabled", "Whether an operator lets it have work.", lambda: float(parts.role.switch.is_enabled))
    parts.metrics.watch_each(
        "instar_containers",
        "Containers, by what they do.",
        "state",
        lambda: Counter(container.state.value for container in engine.containers()),
    )
    parts.metrics.watch_each("instar_up", "Whether what is outside answers.", "what", parts.health.answers)
    parts.metrics.watch_each(
        "instar_records", "Records since the start, by what became of them.", "fate", lambda: _fates(keeper)
    )


def _fates(keeper: Keeper) -> Mapping[str, float]:
    counts = keeper.counts()
    return {"taken": counts.taken, "kept": counts.kept, "set aside": counts.set_aside, "torn": counts.torn}


def _containers(settings: InvokerSettings, environment: Mapping[str, str]) -> tuple[Containers, Weights]:
    """The maker of containers, and who has weights brought for them."""
    return making.containers(
        making.ContainerSettings(
            docker=settings.docker,
            manifest=settings.manifest,
            folder=settings.program.state / CONTAINERS_FOLDER,
            owner=_owner(settings),
            pool_memory_mb=settings.pool.memory_mb,
            api_host=settings.api_host,
            store=settings.store,
        ),
        environment,
    )


def _owner(settings: InvokerSettings) -> str:
    """Whose containers they are, among all that use an engine: the same after a restart, on whatever machine."""
    bus, database = settings.program.bus, settings.program.database
    known = "\0".join((bus.prefix, database.entities, settings.name))
    return hashlib.sha256(known.encode()).hexdigest()[:16]


def _announce_stem_cell(start: Start, announce: Announce) -> None:
    if start.is_stem_cell:
        announce(Prewarmed(start.kind, start.memory_mb))


def _tell_of_removal(metrics: Metrics, announce: Announce, remove: Remove, ending: Ending | None) -> None:
    metrics.removed(remove.reason.why.value)
    announce(Removed(remove.container, remove.reason, ending))
