"""What `instar serve` can be told, with unit, reason and default; and how the command line says it.

One rule: everything is checked here, once, before anything is opened or started. The environment is an
argument: only the command reads the process's own.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from instar import profiles
from instar.errors import PlanError
from instar.plan.costs import Costs
from instar.weights.store import default_root
from instar_controller.engines.invoker import EngineSettings
from instar_controller.engines.scheduler import PoolSettings
from instar_controller.errors import SettingsError
from instar_controller.policies.donors import Sharing
from instar_controller.policies.idle import Patience
from instar_controller.policies.prewarm import StemCells
from instar_controller.whisk import manifest as manifests
from instar_controller.whisk.limits import Bounds, Limits
from instar_controller.whisk.manifest import DEFAULT, Manifest
from instar_controller.whisk.values import parse

NO_STEM_CELLS = "none"
NO_STORE = "none"
NO_COSTS = "none"
PROCESS, DOCKER = "process", "docker"  # what containers are made of


@dataclass(frozen=True, slots=True)
class HttpSettings:
    """The server that speaks the REST API."""

    host: str = "127.0.0.1"  # a loopback address: there is no TLS, and whoever has the key runs code here
    port: int = 3233  # where OpenWhisk's own standalone server listens; 0: any free one
    threads: int = 160  # a blocking invocation holds one; more than `concurrent_invocations` may hold
    connections: int = 1000
    buffered_body_bytes: int = 4 << 20  # of a request; what is more waits in a temporary file
    max_body_bytes: int = 128 << 20  # cut off unread; OpenWhisk's own refusal comes at 50 MiB, after reading


@dataclass(frozen=True, slots=True)
class DockerSettings:
    """Containers of a Docker engine, which is found as Docker's own tools find it (DOCKER_HOST)."""

    network: str = "bridge"  # that the containers' addresses are on; this machine must reach them
    pause_grace_s: float = 10.0  # after which an unused container is paused, as OpenWhisk does
    users_registry: str = ""  # of images of users' actions whose names say none; "": Docker's own


@dataclass(frozen=True, slots=True)
class PlanningSettings:
    """The plans by which one action's model becomes another's."""

    profiles: Path  # where what devices cost is kept
    costs: Costs | None = None  # None: those of this kind of device, measured in the background if nobody has yet
    processes: int = 2  # that plan at a time; they let every other process go first


@dataclass(frozen=True, slots=True)
class ServeSettings:
    """All of it."""

    state: Path  # a directory: the store, the key, and what the containers work in
    http: HttpSettings = field(default_factory=HttpSettings)
    pool: PoolSettings = field(default_factory=PoolSettings)
    engine: EngineSettings = field(default_factory=EngineSettings)
    limits: Limits = field(default_factory=Limits)
    manifest: Manifest = DEFAULT
    docker: DockerSettings | None = None  # None: containers are made of processes of this machine
    store: Path | None = None  # a directory for the models' weights, shared by all; None: containers see to theirs
    planning: PlanningSettings | None = None  # None: nothing is planned, and models are always loaded
    namespace: str = "guest"
    drain_s: float = 2.0  # what running activations get to finish after Ctrl-C


def default_state(environment: Mapping[str, str]) -> Path:
    """Where state lives on this platform."""
    base = environment.get("XDG_STATE_HOME") or str(Path(environment.get("HOME", "/tmp")) / ".local" / "state")
    return Path(base) / "instar"


def make(
    state: Path,
    *,
    host: str,
    port: int,
    memory_mb: int,
    keep_alive_s: float,
    stem_cells: Sequence[StemCells],
    docker: DockerSettings | None = None,
    manifest: Manifest = DEFAULT,
    store: Path | None = None,
    sharing: Sharing | None = None,
    planning: PlanningSettings | None = None,
) -> ServeSettings:
    """Settings from what the command line says. Raises `SettingsError`."""
    limits = limits_of(memory_mb)
    if not 0 <= port <= 65535:
        raise SettingsError(f"--port {port} is no TCP port; choose one from 1 to 65535, or 0 for any free one")
    if not keep_alive_s >= 0:
        raise SettingsError(f"--keep-alive {keep_alive_s:g} is no number of seconds from 0 on")
    for cells in stem_cells:
        if cells.memory_mb > memory_mb:
            raise SettingsError(
                f"--prewarm {cells.kind}:{cells.memory_mb}: more than the {memory_mb} MB of all containers together"
            )
    containers = memory_mb // limits.memory_mb.least
    return ServeSettings(
        state=state.expanduser().absolute(),
        http=HttpSettings(host=_loopback(host), port=port),
        pool=PoolSettings(
            memory_mb=memory_mb,
            patience=Patience(keep_alive_s, docker.pause_grace_s if docker else None),
            sharing=sharing or Sharing(),
            stem_cells=tuple(stem_cells),
        ),
        engine=EngineSettings(threads=32 + 2 * containers, unmarked_kinds=manifest.unmarked_kinds),
        limits=limits,
        manifest=manifest,
        docker=docker,
        store=None if store is None else store.expanduser().absolute(),
        planning=planning,
    )


def sharing_of(idle_threshold_s: float, *, share_across_namespaces: bool) -> Sharing:
    """What `--idle-threshold` and `--share-across-namespaces` say. Raises `SettingsError`."""
    if not idle_threshold_s >= 0:
        raise SettingsError(f"--idle-threshold {idle_threshold_s:g} is no number of seconds from 0 on")
    return Sharing(idle_threshold_s, share_across_namespaces)


def store_folder(text: str | None, environment: Mapping[str, str]) -> Path | None:
    """What `--store` says: a directory, or `none`; without it, where Instar keeps weights on this machine."""
    if text == NO_STORE:
        return None
    return default_root(dict(environment)) if text is None else Path(text)


def planning_of(text: str | None, environment: Mapping[str, str]) -> PlanningSettings | None:
    """What `--costs` says: a profile, or `none`; without it, the profile of this kind of device. Raises
    `SettingsError`.
    """
    if text == NO_COSTS:
        return None
    folder = profiles.folder(environment).expanduser().absolute()
    if text is None:
        return PlanningSettings(folder)
    try:
        return PlanningSettings(folder, profiles.read(Path(text)).costs)
    except FileNotFoundError as error:
        raise SettingsError(f"--costs {text}: there is no such file; `instar profile` makes one") from error
    except PlanError as error:
        raise SettingsError(f"--costs: {error}") from error


def docker_settings(containers: str, *, network: str | None, pause_grace_s: float | None) -> DockerSettings | None:
    """What `--containers` and the options that belong to it say. Raises `SettingsError`."""
    given = {"--docker-network": network, "--pause-grace": pause_grace_s}
    if containers == PROCESS:
        for option, value in given.items():
            if value is not None:
                raise SettingsError(f"{option} {value}: only containers of Docker have that; add --containers docker")
        return None
    usual = DockerSettings()
    grace_s = usual.pause_grace_s if pause_grace_s is None else pause_grace_s
    if not grace_s >= 0:
        raise SettingsError(f"--pause-grace {grace_s:g} is no number of seconds from 0 on")
    network = usual.network if network is None else network
    if network in ("", "host", "none") or network.startswith("container:"):
        raise SettingsError(
            f"--docker-network '{network}' gives containers no address of their own; name a bridge, such as "
            f"{usual.network}, or a network made with `docker network create`"
        )
    return DockerSettings(network, grace_s)


def read_manifest(path: Path | None, *, containers: str) -> Manifest:
    """The runtimes manifest in a file, in the form of OpenWhisk's `runtimes.json`; without one, Instar's own
    kinds. Raises `SettingsError`.
    """
    if path is None:
        return DEFAULT
    if containers == PROCESS:
        raise SettingsError(f"--manifest {path}: a manifest names images; add --containers docker")
    try:
        return manifests.parse(parse(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise SettingsError(f"--manifest {path}: {error.strerror}") from error
    except (ValueError, SettingsError) as error:  # what is no text, no JSON, or no manifest
        raise SettingsError(f"--manifest {path}: {error}") from error


def limits_of(memory_mb: int) -> Limits:
    """The platform's limits where one person has one machine: an action may use all of the pool's memory, and
    the rates that keep tenants from each other are out of the way.
    """
    usual = Limits().memory_mb
    if memory_mb < usual.least:
        raise SettingsError(f"--memory {memory_mb}: an action needs {usual.least} MB at least")
    return replace(
        Limits(),
        memory_mb=Bounds(usual.least, min(usual.default, memory_mb), memory_mb),
        invocations_per_minute=100_000,
        concurrent_invocations=128,
    )


def parse_stem_cells(texts: Sequence[str], *, memory_mb: int, manifest: Manifest = DEFAULT) -> list[StemCells]:
    """`kind:memory:count` each, or `none` alone. No text at all: what the manifest says; of Instar's own, one
    of each kind with an action's usual memory.

    Raises `SettingsError`.
    """
    if not texts and manifest is DEFAULT:
        usual = min(Limits().memory_mb.default, memory_mb)
        return [StemCells(kind.kind, usual, 1) for kind in manifest.kinds]
    if not texts:
        return [
            StemCells(kind.kind, cells.memory_mb, cells.count) for kind in manifest.kinds for cells in kind.stem_cells
        ]
    if list(texts) == [NO_STEM_CELLS]:
        return []
    return [_parse_stem_cells(text, manifest) for text in texts]


def _parse_stem_cells(text: str, manifest: Manifest) -> StemCells:
    form = "write KIND:MEMORY:COUNT, such as pytorch:2:256:1"
    kind, *numbers = text.rsplit(":", 2)
    if len(numbers) != 2 or not all(number.isdecimal() for number in numbers):
        raise SettingsError(f"--prewarm {text}: {form}")
    found = manifest.resolve(kind)
    if found is None:
        known = ", ".join(known.kind for known in manifest.kinds)
        raise SettingsError(f"--prewarm {text}: there is no kind '{kind}'; {form}, where a kind is one of {known}")
    memory_mb, count = map(int, numbers)
    if not memory_mb or not count:
        raise SettingsError(f"--prewarm {text}: memory and count are from 1 on; {form}, or leave it out")
    return StemCells(found.kind, memory_mb, count)


def _loopback(host: str) -> str:
    address = "127.0.0.1" if host == "localhost" else host
    try:
        if ipaddress.ip_address(address).is_loopback:
            return address
    except ValueError:
        pass
    raise SettingsError(
        f"--host {host} is no loopback address: whoever reaches this server can try keys, and runs code with one; "
        "listen on 127.0.0.1 and let a proxy with TLS stand before it"
    )
