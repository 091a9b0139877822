"""What `instar invoker` and `instar dispatcher` can be told, as settings: stock names where they exist, and ours.

One rule: everything is checked here, once, before anything is opened or started. What the variables are called, and
what each means, is in `cluster_variables.py`; the environment is an argument.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from instar.weights.store import default_root
from instar_controller import cluster_variables as names
from instar_controller import kafka_security
from instar_controller.clients.couch.connection import CouchSettings
from instar_controller.cluster_ports import TopicSettings
from instar_controller.engines.invoker import EngineSettings
from instar_controller.engines.scheduler import PoolSettings
from instar_controller.errors import SettingsError
from instar_controller.kafka_security import Security
from instar_controller.policies.donors import Sharing
from instar_controller.policies.idle import Patience
from instar_controller.policies.prewarm import StemCells
from instar_controller.settings import (
    NO_STORE,
    DockerSettings,
    PlanningSettings,
    default_state,
    parse_stem_cells,
    planning_of,
)
from instar_controller.variables import Given, Program, Variable
from instar_controller.whisk import invoker_numbers, locked
from instar_controller.whisk import manifest as manifests
from instar_controller.whisk.limits import Bounds, Limits
from instar_controller.whisk.locked import AES_128, AES_256, Keys
from instar_controller.whisk.manifest import DEFAULT, Manifest
from instar_controller.whisk.store_level import StoreLevel, StoreLevels
from instar_controller.whisk.values import Json, parse

OVERHEAD_BYTES = 6068  # of a message around its arguments, as OpenWhisk reckons
NO_PLANS = "none"
MOST_INSTANCE = invoker_numbers.MOST


@dataclass(frozen=True, slots=True)
class BusSettings:
    """The message bus."""

    hosts: tuple[str, ...]
    prefix: str  # of every topic
    events_prefix: str  # of the topic of user events
    sends_events: bool
    security: Security = field(repr=False)
    invoker_topic: TopicSettings  # as `invokerN` is made, if it is not there yet

    @property
    def max_message_bytes(self) -> int:
        """The longest message to an invoker, and the longest acknowledgement."""
        return self.invoker_topic.max_message_bytes


@dataclass(frozen=True, slots=True)
class DatabaseSettings:
    """CouchDB, and the names of the databases."""

    protocol: str
    host: str
    port: int
    username: str
    password: str = field(repr=False)
    subjects: str
    entities: str
    activations: str
    plans: str | None  # None: nothing is planned
    blacklist_interval_s: float = 300.0

    @property
    def all(self) -> tuple[str, ...]:
        """The databases that have to be there."""
        return (self.subjects, self.entities, self.activations)


@dataclass(frozen=True, slots=True)
class OperationsSettings:
    """The HTTP server that operators and probes ask."""

    host: str = "127.0.0.1"
    port: int = 8080
    username: str = "invoker.user"
    password: str = field(default="invoker.pass", repr=False)


@dataclass(frozen=True, slots=True)
class NumberingSettings:
    """Where a program learns which invoker it is that was told its name only."""

    zookeeper: str  # `host:port`, several with commas between them, and perhaps a path
    unique_name: str
    overwrite: int | None  # the number that the name is to have from now on, whatever it had


@dataclass(frozen=True, slots=True)
class InstanceSettings:
    """Which invoker this is to the controllers."""

    number: int
    unique_name: str | None
    displayed_name: str | None


@dataclass(frozen=True, slots=True)
class NodeSettings:
    """Which node this is to the dispatchers, whose ids it answers with."""

    name: str
    fence_s: float


@dataclass(frozen=True, slots=True)
class ProgramSettings:
    """What every program of a cluster has."""

    bus: BusSettings
    database: DatabaseSettings
    operations: OperationsSettings
    state: Path
    drain_s: float
    log_format: str
    log_level: str


@dataclass(frozen=True, slots=True)
class InvokerSettings:
    """All of `instar invoker`."""

    program: ProgramSettings
    role: InstanceSettings | NodeSettings
    pool: PoolSettings
    engine: EngineSettings
    limits: Limits
    store_levels: StoreLevels  # of which activations there are records
    tells_unstored: bool  # whether the log has a line for each of the others
    keys: Keys = field(repr=False)  # that parameters are locked with
    manifest: Manifest
    docker: DockerSettings | None  # None: containers are made of processes of this machine
    api_host: str  # what actions find in `__OW_API_HOST`
    store: Path | None  # a directory for the models' weights, shared by all; None: containers see to theirs
    planning: PlanningSettings | None  # None: models are always loaded

    @property
    def name(self) -> str:
        """Who this is among all programs of the cluster."""
        return self.role.name if isinstance(self.role, NodeSettings) else f"invoker{self.role.number}"


@dataclass(frozen=True, slots=True)
class DispatcherSettings:
    """All of `instar dispatcher`."""

    program: ProgramSettings
    instance: InstanceSettings
    manifest: Manifest
    dead_s: float


def invoker(environment: Mapping[str, str], options: Mapping[str, str | None]) -> InvokerSettings:
    """Settings of `instar invoker`; `options` by the name of the variable that each stands for. Raises
    `SettingsError`.
    """
    given = Given(environment, options)
    role = _node(given) if given.value(names.DISPATCHED) else _instance(given)
    name = role.name if isinstance(role, NodeSettings) else f"invoker{role.number}"
    limits = _limits(given)
    memory_mb = given.value(names.USER_MEMORY)
    if memory_mb < limits.memory_mb.least:
        raise SettingsError(
            f"{given.source(names.USER_MEMORY)} {memory_mb} MB: an action needs {limits.memory_mb.least} MB at least"
        )
    manifest = _manifest(given)
    docker = _docker(given)
    containers = memory_mb // limits.memory_mb.least
    return InvokerSettings(
        program=_program(given, environment, name),
        role=role,
        pool=PoolSettings(
            memory_mb=memory_mb,
            patience=_patience(given, docker),
            sharing=Sharing(given.value(names.IDLE_THRESHOLD), given.value(names.SHARE_ACROSS)),
            stem_cells=tuple(_stem_cells(given, manifest, memory_mb)),
        ),
        engine=EngineSettings(
            name=name,
            threads=32 + 2 * containers,
            queue_length=containers,
            max_result_bytes=given.value(names.PAYLOAD_MAX),
            unmarked_kinds=manifest.unmarked_kinds,
        ),
        limits=limits,
        store_levels=_store_levels(given),
        tells_unstored=given.value(names.UNSTORED_LOGS),
        keys=_keys(given),
        manifest=manifest,
        docker=docker,
        api_host=_api_host(given),
        store=_store(given, environment),
        planning=_planning(given, environment),
    )


def numbering(
    program: Program, environment: Mapping[str, str], options: Mapping[str, str | None]
) -> NumberingSettings | None:
    """Where the program's number comes from; None if it is told, or it is a node and has none. Raises
    `SettingsError`.
    """
    given = Given(environment, options)
    is_node = program is Program.INVOKER and given.value(names.DISPATCHED)
    number = _overwritten(given)
    if is_node or given.value(names.ID):
        if number is not None:
            other = given.source(names.DISPATCHED if is_node else names.ID)
            raise SettingsError(
                f"{given.source(names.OVERWRITE_ID)} {number} is for a number of ZooKeeper's, and with {other} none "
                "is taken from there; leave one of them out"
            )
        return None
    name, servers = given.value(names.UNIQUE_NAME), given.value(names.ZOOKEEPER)
    if not name or not servers:
        raise SettingsError(_without_number(number, name, servers))
    try:
        invoker_numbers.node_of(name)
    except ValueError as error:
        raise SettingsError(f"{given.source(names.UNIQUE_NAME)} '{name}': {error}") from error
    return NumberingSettings(servers, name, number)


def _overwritten(given: Given) -> int | None:
    text = given.value(names.OVERWRITE_ID)
    if text and int(text) > MOST_INSTANCE:
        raise SettingsError(f"{given.source(names.OVERWRITE_ID)} {text} is beyond {MOST_INSTANCE}, OpenWhisk's most")
    return int(text) if text else None


def _without_number(overwrite: int | None, name: str, servers: str) -> str:
    by_name = f"{names.UNIQUE_NAME.name} (or {names.UNIQUE_NAME.flag}) and {names.ZOOKEEPER.name}"
    ways = (
        f"give {names.ID.flag} N, or {names.ID.flag} {names.FROM_NAME} where the unique name ends in a number, or "
        f"set {by_name}, to have the number that ZooKeeper has for that name"
    )
    if overwrite is not None or name or servers:
        missing = " and ".join(
            variable.name for variable, value in ((names.UNIQUE_NAME, name), (names.ZOOKEEPER, servers)) if not value
        )
        return f"{names.ID.name} is not set, and {missing} is not either: an invoker needs a number; {ways}"
    return f"{names.ID.name} is not set: an invoker needs a number; {ways}"


def dispatcher(environment: Mapping[str, str], options: Mapping[str, str | None]) -> DispatcherSettings:
    """Settings of `instar dispatcher`. Raises `SettingsError`."""
    given = Given(environment, options)
    instance = _instance(given)
    return DispatcherSettings(
        program=_program(given, environment, f"dispatcher{instance.number}"),
        instance=instance,
        manifest=_manifest(given),
        dead_s=given.value(names.DEAD),
    )


def _program(given: Given, environment: Mapping[str, str], name: str) -> ProgramSettings:
    return ProgramSettings(
        bus=_bus(given),
        database=_database(given),
        operations=OperationsSettings(
            given.value(names.HOST),
            given.value(names.PORT),
            given.value(names.USERNAME),
            given.value(names.PASSWORD),
        ),
        state=given.value(names.STATE) or default_state(environment) / name,
        drain_s=given.value(names.DRAIN),
        log_format=given.value(names.LOG_FORMAT),
        log_level=given.value(names.LOG_LEVEL),
    )


def _bus(given: Given) -> BusSettings:
    return BusSettings(
        hosts=given.required(names.KAFKA_HOSTS),
        prefix=given.value(names.TOPICS_PREFIX),
        events_prefix=given.value(names.EVENTS_PREFIX),
        sends_events=given.value(names.USER_EVENTS),
        security=kafka_security.read(given),
        invoker_topic=TopicSettings(
            partitions=given.value(names.PARTITIONS),
            replication=given.value(names.REPLICATION),
            retention_ms=given.value(names.RETENTION),
            retention_bytes=given.value(names.RETENTION_SIZE),
            segment_bytes=given.value(names.SEGMENT_SIZE),
            max_message_bytes=given.value(names.PAYLOAD_MAX) + OVERHEAD_BYTES,
        ),
    )


def plans(environment: Mapping[str, str]) -> tuple[CouchSettings, str]:
    """The CouchDB of a cluster, and the name of the database of its plans. Raises `SettingsError`."""
    given = Given(environment, {})
    name = given.required(names.PLANS_DATABASE)
    if name == NO_PLANS:
        raise SettingsError(
            f"{names.PLANS_DATABASE.name} is '{NO_PLANS}': such programs make no plans; name the database of those "
            "that do"
        )
    couch = CouchSettings(
        given.value(names.COUCHDB_PROTOCOL),
        _couch_host(given),
        given.value(names.COUCHDB_PORT),
        given.value(names.COUCHDB_USERNAME),
        given.value(names.COUCHDB_PASSWORD),
    )
    return couch, name


def _couch_host(given: Given) -> str:
    host = given.required(names.COUCHDB_HOST)
    if not re.fullmatch(r"[A-Za-z0-9._-]+", host):
        raise SettingsError(
            f"{names.COUCHDB_HOST.name} '{host}' is no host; its protocol and port are in "
            f"{names.COUCHDB_PROTOCOL.name} and {names.COUCHDB_PORT.name}"
        )
    return host


def _database(given: Given) -> DatabaseSettings:
    host = _couch_host(given)
    return DatabaseSettings(
        protocol=given.value(names.COUCHDB_PROTOCOL),
        host=host,
        port=given.value(names.COUCHDB_PORT),
        username=given.value(names.COUCHDB_USERNAME),
        password=given.value(names.COUCHDB_PASSWORD),
        subjects=given.required(names.SUBJECTS),
        entities=given.required(names.ENTITIES),
        activations=given.required(names.ACTIVATIONS),
        plans=None if (plans := given.required(names.PLANS_DATABASE)) == NO_PLANS else plans,
        blacklist_interval_s=given.value(names.BLACKLIST_INTERVAL),
    )


def _instance(given: Given) -> InstanceSettings:
    unique_name = given.value(names.UNIQUE_NAME)
    wanted, servers, overwrite = given.value(names.ID), given.value(names.ZOOKEEPER), _overwritten(given)
    if not wanted:  # `numbering` says where else it comes from
        raise SettingsError(_without_number(overwrite, unique_name, servers))
    number = _ordinal(given, unique_name) if wanted == names.FROM_NAME else int(wanted)
    if number > MOST_INSTANCE:
        raise SettingsError(f"{given.source(names.ID)} {number} is beyond {MOST_INSTANCE}, OpenWhisk's most")
    return InstanceSettings(number, unique_name or None, given.value(names.DISPLAYED_NAME) or None)


def _ordinal(given: Given, name: str) -> int:
    """The number at the end of a name, as pods of a StatefulSet have it."""
    found = re.search(r"(?:^|[^0-9])(\d+)$", name)
    if found is None:
        raise SettingsError(
            f"{given.source(names.ID)} {names.FROM_NAME}: the unique name '{name}' does not end in a number; set "
            f"{names.UNIQUE_NAME.name} to a name such as 'invoker-0', or give a number"
        )
    return int(found[1])


def _node(given: Given) -> NodeSettings:
    name = given.value(names.NODE_NAME) or given.value(names.UNIQUE_NAME)
    if not name:
        raise SettingsError(
            f"{given.source(names.DISPATCHED)}: a node needs a name that no other has; give {names.NODE_NAME.flag} "
            f"or set {names.UNIQUE_NAME.name}"
        )
    if given.is_set(names.ID):
        raise SettingsError(
            f"{given.source(names.ID)} {given.value(names.ID)} and {given.source(names.DISPATCHED)}: a node has no "
            "number of its own, it answers with its dispatcher's; leave one of them out"
        )
    return NodeSettings(name, given.value(names.FENCE))


def _limits(given: Given) -> Limits:
    usual = Limits()
    payload = given.value(names.PAYLOAD_MAX)
    return Limits(
        timeout_ms=_bounds(given, names.TIME_MIN, names.TIME_STD, names.TIME_MAX),
        memory_mb=_bounds(given, names.MEMORY_MIN, names.MEMORY_STD, names.MEMORY_MAX),
        logs_mb=_bounds(given, names.LOG_MIN, names.LOG_STD, names.LOG_MAX),
        concurrency=usual.concurrency,
        max_payload_bytes=payload,
        max_result_bytes=payload,
    )


def _store_levels(given: Given) -> StoreLevels:
    """The older variable counts only where the newer one is not set."""
    blocking = given.value(names.STORE_BLOCKING)
    if not given.is_set(names.STORE_BLOCKING) and given.value(names.DISABLE_STORE_RESULT):
        blocking = StoreLevel.FAILURES
    return StoreLevels(blocking, given.value(names.STORE_NON_BLOCKING))


def _bounds(given: Given, least: Variable[int], usual: Variable[int], most: Variable[int]) -> Bounds:
    bounds = Bounds(given.value(least), given.value(usual), given.value(most))
    if not bounds.least <= bounds.default <= bounds.most:
        raise SettingsError(
            f"{least.name} {bounds.least}, {usual.name} {bounds.default}, {most.name} {bounds.most}: the least must "
            "not be above the usual one, nor that above the most"
        )
    return bounds


def _patience(given: Given, docker: DockerSettings | None) -> Patience:
    grace_s = given.value(names.PAUSE_GRACE)
    return Patience(grace_s + given.value(names.IDLE_CONTAINER), grace_s if docker else None)


def _docker(given: Given) -> DockerSettings | None:
    if given.value(names.CONTAINERS) == names.PROCESS:
        return None
    network = given.value(names.NETWORK)
    if network in ("host", "none") or network.startswith("container:"):
        raise SettingsError(
            f"{given.source(names.NETWORK)} '{network}' gives containers no address of their own; name a bridge, or "
            "a network made with `docker network create`"
        )
    return DockerSettings(network, given.value(names.PAUSE_GRACE), given.value(names.USERS_REGISTRY).rstrip("/"))


def _manifest(given: Given) -> Manifest:
    file = given.value(names.MANIFEST_FILE)
    source, text = given.source(names.MANIFEST), given.value(names.MANIFEST)
    registry = given.value(names.RUNTIMES_REGISTRY).rstrip("/")
    if file is not None:
        source = f"{given.source(names.MANIFEST_FILE)} {file}"
        try:
            text = file.read_text(encoding="utf-8")
        except (OSError, ValueError) as error:
            why = error.strerror if isinstance(error, OSError) else "it is no text"
            raise SettingsError(f"{source}: {why}") from error
    if not text:
        return DEFAULT
    if given.value(names.CONTAINERS) == names.PROCESS:
        raise SettingsError(
            f"{source}: a manifest names images, and containers are processes here; set {names.CONTAINERS.name} to "
            f"{names.DOCKER}, or leave the manifest out"
        )
    try:
        document = parse(text)
        return manifests.parse(_with_registry(document, registry) if registry else document)
    except (ValueError, SettingsError) as error:  # what is no JSON, or no manifest
        raise SettingsError(f"{source}: {error}") from error


def _with_registry(document: Json, registry: str) -> Json:
    """The manifest, with a registry for each image that names none; what is of another form is left to the reader of
    manifests."""
    if not isinstance(document, Mapping) or not isinstance(families := document.get("runtimes"), Mapping):
        return document
    return {
        **document,
        "runtimes": {
            family: [_kind_with_registry(kind, registry) for kind in kinds] if isinstance(kinds, list) else kinds
            for family, kinds in families.items()
        },
    }


def _kind_with_registry(kind: Json, registry: str) -> Json:
    if not isinstance(kind, Mapping) or not isinstance(image := kind.get("image"), Mapping) or image.get("registry"):
        return kind
    return {**kind, "image": {**image, "registry": registry}}


def _stem_cells(given: Given, manifest: Manifest, memory_mb: int) -> Sequence[StemCells]:
    texts = [word.strip() for word in given.value(names.PREWARM).split(",") if word.strip()]
    try:
        cells = parse_stem_cells(texts, memory_mb=memory_mb, manifest=manifest)
    except SettingsError as error:
        raise SettingsError(f"{given.source(names.PREWARM)} {str(error).removeprefix('--prewarm ')}") from error
    for each in cells:
        if texts and each.memory_mb > memory_mb:
            raise SettingsError(
                f"{given.source(names.PREWARM)} {each.kind}:{each.memory_mb}: more than the {memory_mb} MB of all "
                "containers together"
            )
    return cells


def _keys(given: Given) -> Keys:
    keys = {}
    for algorithm, variable in ((AES_128, names.AES_128_KEY), (AES_256, names.AES_256_KEY)):
        if text := given.value(variable):
            try:
                keys[algorithm] = locked.parse_key(algorithm, text)
            except SettingsError as error:
                raise SettingsError(f"{variable.name}: {error}; it is the one that controllers have") from error
    return keys


def _api_host(given: Given) -> str:
    """As OpenWhisk puts it together; for a host that nobody has named, this machine's."""
    host = given.value(names.API_HOST_NAME) or socket.gethostname()
    return f"{given.value(names.API_HOST_PROTO)}://{host}:{given.value(names.API_HOST_PORT)}"


def _planning(given: Given, environment: Mapping[str, str]) -> PlanningSettings | None:
    text = given.value(names.COSTS)
    if given.value(names.PLANS_DATABASE) == NO_PLANS:
        return None
    try:
        return planning_of(text or None, environment)
    except SettingsError as error:
        said = str(error).removeprefix("--costs").lstrip(": ")
        raise SettingsError(f"{given.source(names.COSTS)} {said}") from error


def _store(given: Given, environment: Mapping[str, str]) -> Path | None:
    text = given.value(names.STORE)
    if text == NO_STORE:
        return None
    return Path(text).expanduser().absolute() if text else default_root(dict(environment))
