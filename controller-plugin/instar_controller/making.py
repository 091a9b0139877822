"""The maker of a node's containers, and the directory of the models' weights that they all share.

One rule: what cannot be used is found out before anything is started, with the setting that names it; and what an
earlier run of the same program has left behind is gone when its maker is made.
"""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from instar.weights import store as weights_store
from instar.weights.fetch import Fetcher
from instar_controller.clients.memory import MemoryWeights
from instar_controller.clients.process import ProcessContainers
from instar_controller.clients.weights import StoreWeights
from instar_controller.errors import ControllerError, SettingsError
from instar_controller.ports import Containers, Weights
from instar_controller.settings import DockerSettings
from instar_controller.whisk.manifest import Manifest

STORE_VARIABLE = "INSTAR_STORE"  # in a container's environment: where it finds weights, and keeps what it fetches


@dataclass(frozen=True, slots=True)
class ContainerSettings:
    """What the containers of one program have in common."""

    docker: DockerSettings | None  # None: they are made of processes of this machine
    manifest: Manifest
    folder: Path  # that processes work in; nobody else uses it
    owner: str  # of the containers of a Docker engine, among all that use it: the same after a restart
    pool_memory_mb: int
    api_host: str  # what actions find in `__OW_API_HOST`
    store: Path | None  # None: containers see to their weights themselves


class Made(NamedTuple):
    """The maker of containers, who has weights brought for them, and the kinds that it has images of; processes have
    none. `ask` raises `ContainerError` while no container can be made; None where nobody has to be asked."""

    containers: Containers
    weights: Weights
    kinds_with_image: Collection[str]
    ask: Callable[[], None] | None = None


def containers(settings: ContainerSettings, environment: Mapping[str, str]) -> Made:
    """Make what makes containers. Processes start with `environment`.

    Raises `SettingsError`, and `UnansweredError` while there is no engine to ask for any.
    """
    # What a stock invoker gives a container.
    stock = {"__OW_API_HOST": settings.api_host, "__OW_ALLOW_CONCURRENT": "false"}
    store = None if settings.store is None else _folder(settings.store)
    if settings.docker is None:
        given = {**environment, **stock}
        if store is not None:
            given[STORE_VARIABLE] = str(store)
        kinds = [kind.kind for kind in settings.manifest.kinds]
        shutil.rmtree(settings.folder, ignore_errors=True)  # what a killed program's containers left behind
        return Made(ProcessContainers(settings.folder, given), _weights(store, kinds, given, environment), ())
    if store is not None:
        _open_to_containers(store)
    # Late: Docker's client takes 0.2 s to import, and need not be installed for the other kind.
    from instar_controller.clients.docker import engine
    from instar_controller.clients.docker.arguments import Plan
    from instar_controller.clients.docker.containers import DockerContainers

    made = DockerContainers(
        engine.connect(environment),
        Plan(
            owner=settings.owner,
            network=settings.docker.network,
            pool_memory_mb=settings.pool_memory_mb,
            environment=stock,
            images={kind.kind: kind.image for kind in settings.manifest.kinds},
            store=store,
            trusted=settings.manifest.blackboxes,
            users_registry=f"{registry}/" if (registry := settings.docker.users_registry) else "",
        ),
    )
    try:
        made.prepare()
    except ControllerError:
        made.close()
        raise
    return Made(made, _weights(store, made.kinds_with_store, stock, environment), made.kinds_with_image, made.ask)


def _folder(path: Path) -> Path:
    """The store's directory. Raises `SettingsError`."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            return path
    except OSError as error:
        raise SettingsError(
            f"--store {path}: weights cannot be kept there: {error.strerror}; name a directory that you may write "
            "to, or 'none'"
        ) from error


def _open_to_containers(path: Path) -> None:
    """Let everybody read what is in the store's directory and will be, for the user of a container is nobody here.
    Raises `SettingsError`.
    """
    os.umask(os.umask(0o022) & ~0o055)  # whatever else this process writes is private by its own mode
    for folder in (path, *filter(Path.is_dir, path.iterdir())):
        mode = stat.S_IMODE(folder.stat().st_mode)
        if mode & 0o005 == 0o005:
            continue
        try:
            folder.chmod(mode | 0o055)
        except OSError as error:
            raise SettingsError(
                f"--store {path}: containers cannot read {folder} ({error.strerror}); have its owner do "
                f"`chmod o+rx {folder}`, or name another directory"
            ) from error


def _weights(
    store: Path | None, kinds: Collection[str], given: Mapping[str, str], environment: Mapping[str, str]
) -> Weights:
    """Who has weights brought into this directory for containers of these kinds, which start with `given`."""
    if store is None:
        return MemoryWeights()
    fetcher = Fetcher(weights_store.Store(store), environ=environment)
    return StoreWeights(fetcher, kinds=kinds, environment=given, credentials=environment)
