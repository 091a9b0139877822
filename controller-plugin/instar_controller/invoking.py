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
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass

from instar_controller import cluster_parts, making, notices, roles, sharing_plans
from instar_controller.beginning import Begun
from instar_controller.clients import owners
from instar_controller.clients.clock import SystemClock
from instar_controller.clients.couch.connection import Connection
from instar_controller.clients.couch.database import Database
from instar_controller.clients.couch.entities import CouchEntities
from instar_controller.clients.couch.subjects import CouchSubjects
from instar_controller.clients.metrics import Metrics
from instar_controller.clients.slate import SlateFile
from instar_controller.cluster_parts import Stopped, Stopping
from instar_controller.cluster_ports import Bus
from instar_controller.cluster_settings import InstanceSettings, InvokerSettings
from instar_controller.cluster_settings import NodeSettings as NodeRoleSettings
from instar_controller.engines import standing, storing
from instar_controller.engines.acknowledging import AckTopics
from instar_controller.engines.blacklist import Blacklist
from instar_controller.engines.experience import Experience
from instar_controller.engines.fetching import Actions
from instar_controller.engines.intake import IntakeSettings
from instar_controller.engines.invoker import Invoker
from instar_controller.engines.keeper import Keeper
from instar_controller.engines.node import Node, NodeSettings
from instar_controller.engines.orders import Remove
from instar_controller.engines.preparing import Preparation
from instar_controller.engines.topics import Topics
from instar_controller.notices import Announce, Answering, Draining, Removed, Working
from instar_controller.operations import Operations
from instar_controller.policies.estimates import PlanOffer
from instar_controller.policies.snapshot import Container
from instar_controller.ports import Ending, Plans
from instar_controller.readiness import Asker, Gate, Health
from instar_controller.roles import InvokerRole, NodeRole, Role
from instar_controller.whisk.action import BLACKBOX
from instar_controller.whisk.invocation import ContainerKey
from instar_controller.whisk.manifest import Manifest

CONTAINERS_FOLDER = "containers"
SLATE_FILE = "handed-over"
SENDS_PER_FENCE = 0.8  # of `fence_s`: what left just before the fence has arrived, or never will, before `dead_s`
HEALTH_FAMILY = "nodejs"  # of the controllers' health tests
ENGINE_ASKED_S = 1.0  # between two questions whether Docker's engine answers: it takes about a millisecond
OWN_THREADS = ("instar-intake", "instar-outbox", "instar-engine-timer", "keeper")


class NoPlans:
    """Plans where nobody makes any."""

    def offer(self, _donor: ContainerKey, _job: ContainerKey) -> PlanOffer | None:
        return None


def serve(settings: InvokerSettings, environment: Mapping[str, str], announce: Announce, begun: Begun) -> None:
    """Work until SIGINT or SIGTERM. To be called from the main thread; containers start with `environment`.

    Raises `SettingsError` if the containers' engine can never make any, `StoreError` if the state directory cannot
    be had.
    """
    program = settings.program
    with ExitStack() as stack:
        stopping, server = begun
        metrics = stack.enter_context(cluster_parts.counting())
        bus = cluster_parts.bus(program.bus, send_s=_send_s(settings.role))
        stack.callback(bus.close)
        connection = cluster_parts.connection(program.database)
        stack.callback(connection.close)
        health = Health(bus, cluster_parts.database_asker(connection, program.database.all))
        engines: list[Invoker] = []  # the one there is, once it works
        role = _role(settings, bus, lambda: engines[0].containers() if engines else ())
        gate = Gate(role.switch)
        server.start(
            Operations(
                settings.name,
                gate,
                metrics.exposition,
                lambda: cluster_parts.missing_threads(role.threads + OWN_THREADS) if health.is_working else (),
                health.obstacles,
            )
        )
        announce(Answering(settings.name, server.url, server.is_loopback))
        stack.enter_context(contextlib.closing(health)).start()
        keeper = stack.enter_context(cluster_parts.keeping(program, connection, announce))
        with contextlib.suppress(Stopped):
            _work(
                settings,
                environment,
                announce,
                _Parts(stopping, metrics, connection, health, role, gate, keeper, engines.append),
            )


@dataclass(frozen=True, slots=True)
class _Parts:
    """What is there before anything outside has answered, and after nobody works any more."""

    stopping: Stopping
    metrics: Metrics
    connection: Connection
    health: Health
    role: Role
    gate: Gate
    keeper: Keeper
    tell_engine: Callable[[Invoker], None]  # so that a role can say what its containers are


def _work(settings: InvokerSettings, environment: Mapping[str, str], announce: Announce, parts: _Parts) -> None:
    """Raises `Stopped` if that comes before anything was begun."""
    program, role = settings.program, parts.role
    clock = SystemClock()
    if settings.tells_unstored:
        storing.tell_of_unstored()
    with ExitStack() as stack:
        containers, weights, kinds_with_image, ask = _made(settings, environment, announce, parts)
        stack.callback(containers.close)
        stack.callback(weights.close)
        if ask is not None:
            parts.health.watch(Asker("engine", ask, every_s=ENGINE_ASKED_S, on_answer=parts.gate.hear))
        cluster_parts.insist(
            "the bus", cluster_parts.open_on(role.bus, program.bus, role.open), parts.stopping, announce
        )
        cluster_parts.insist(
            "the database",
            lambda: cluster_parts.look_at(parts.connection, program.database.all),
            parts.stopping,
            announce,
        )
        plans: Plans = NoPlans()
        if settings.planning is not None:
            shared = stack.enter_context(sharing_plans.offered(program, settings.planning, environment))
            sharing_plans.watch_offers(parts.metrics, shared)
            plans = shared
        if program.database.plans is not None and isinstance(settings.role, InstanceSettings):
            registry = stack.enter_context(  # behind dispatchers they see to it
                sharing_plans.registered(
                    program, settings.manifest, parts.connection, environment, owner=settings.name
                )
            )
            sharing_plans.watch_planning(parts.metrics, registry)
        experience = Experience(plans)
        engine = Invoker(
            containers,
            parts.keeper,
            clock,
            weights,
            pool=settings.pool,
            settings=settings.engine,
            estimate=experience.estimate,
            on_seen=experience.learn,
            on_up=lambda start: notices.announce_if_stem_cell(start, announce),
            on_removed=lambda remove, ending: _tell_of_removal(parts.metrics, announce, remove, ending),
        )
        blacklist = Blacklist(
            CouchSubjects(Database(parts.connection, program.database.subjects)),
            interval_s=program.database.blacklist_interval_s,
        )
        entities = CouchEntities(Database(parts.connection, program.database.entities))
        slate = _slate(settings, role.source.topic)
        if slate is not None:
            stack.callback(slate.close)
        node = Node(
            role.bus,
            role.source,
            Preparation(
                Actions(entities, settings.manifest),
                blacklist,
                clock,
                limits=settings.limits,
                keys=settings.keys,
                runs_health_tests=_runs_health_tests(settings.manifest, kinds_with_image),
                store_levels=settings.store_levels,
            ),
            engine,
            parts.keeper,
            clock,
            parts.metrics,
            AckTopics(Topics(program.bus.prefix).completed, roles.events_topic(program.bus)),
            NodeSettings(IntakeSettings(most_unfinished=settings.engine.queue_length)),
            may_read=parts.gate.wait_until_reading,
            slate=slate,
        )
        parts.tell_engine(engine)
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
        parts.gate.close()
        role.stop()
        node.stop()
        announce(Draining(program.drain_s))


def _slate(settings: InvokerSettings, topic: str) -> SlateFile | None:
    """Where it notes how far it has come; None behind dispatchers, which go by what a node has committed."""
    return (
        SlateFile(settings.program.state / SLATE_FILE, topic) if isinstance(settings.role, InstanceSettings) else None
    )


def _send_s(role: InstanceSettings | NodeRoleSettings) -> float:
    """How long an answer may be on its way. A node's must not arrive after dispatchers have answered for it."""
    return SENDS_PER_FENCE * role.fence_s if isinstance(role, NodeRoleSettings) else cluster_parts.SEND_S


def _role(settings: InvokerSettings, bus: Bus, containers: Callable[[], Iterable[Container]]) -> Role:
    memory_mb = settings.pool.memory_mb
    match settings.role:
        case InstanceSettings() as instance:
            return InvokerRole(bus, settings.program.bus, instance, memory_mb=memory_mb)
        case known:
            kinds = frozenset(kind.kind for kind in settings.manifest.kinds)
            if settings.docker is not None:
                kinds |= {BLACKBOX}
            return NodeRole(
                bus,
                settings.program.bus,
                known,
                lambda: standing.of(containers(), memory_mb=memory_mb, kinds=kinds),
                owner=owners.of(settings.program.state),
            )


def _runs_health_tests(manifest: Manifest, kinds_with_image: Collection[str]) -> bool:
    """Whether there is an image for the kind of the controllers' health tests."""
    kind = manifest.resolve(f"{HEALTH_FAMILY}:default")
    return kind is not None and kind.kind in kinds_with_image


def _watch(parts: _Parts, node: Node, engine: Invoker) -> None:
    """Have the state of the moment told whenever somebody reads the metrics."""
    watch = parts.metrics.watch
    watch("instar_unfinished", "Messages that were read and are not answered.", lambda: node.intake.unfinished)
    watch("instar_answers_waiting", "Answers that the bus has not taken yet.", lambda: node.outbox.waiting)
    watch("instar_enabled", "Whether an operator lets it have work.", lambda: float(parts.gate.is_enabled))
    watch("instar_held", "Whether nothing is read since no container can be made.", lambda: float(parts.gate.is_held))
    parts.metrics.watch_each(
        "instar_containers",
        "Containers, by what they do.",
        "state",
        lambda: Counter(container.state.value for container in engine.containers()),
    )
    cluster_parts.watch(parts.metrics, parts.health, parts.keeper)


def _made(
    settings: InvokerSettings, environment: Mapping[str, str], announce: Announce, parts: _Parts
) -> making.Made:
    """What makes containers, once its engine answers. Raises `Stopped` if that comes before."""
    made: list[making.Made] = []

    def attempt() -> None:
        made.append(_containers(settings, environment))

    cluster_parts.insist("the Docker engine", attempt, parts.stopping, announce)
    return made[0]


def _containers(settings: InvokerSettings, environment: Mapping[str, str]) -> making.Made:
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


def _tell_of_removal(metrics: Metrics, announce: Announce, remove: Remove, ending: Ending | None) -> None:
    metrics.removed(remove.reason.why.value)
    announce(Removed(remove.container, remove.reason, ending))
