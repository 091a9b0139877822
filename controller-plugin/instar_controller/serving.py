"""Everything that `instar serve` is, put together and taken apart again.

One rule: what was started is stopped, in reverse, whatever made it stop: first the engine, while answers
can still leave, then the server, then the store. What only a dying process can do (release the port and the
store's lock, let go of the containers' lifelines) the kernel does for us after `kill -9`; the next start
clears away the directories.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from types import FrameType
from typing import NoReturn

import waitress  # type: ignore[import-untyped]

from instar.plan.costs import Costs
from instar_controller import making, notices
from instar_controller.api import identities
from instar_controller.api.app import create_app
from instar_controller.api.services import Services
from instar_controller.clients.clock import SystemClock
from instar_controller.clients.costs import DeviceCosts, GivenCosts, Measured, Measuring
from instar_controller.clients.disk import DiskStore
from instar_controller.clients.docker.arguments import owner_of
from instar_controller.clients.models import Surroundings
from instar_controller.clients.plans import PlanRepository
from instar_controller.clients.weights import MODEL
from instar_controller.engines.experience import Experience
from instar_controller.engines.follower import Follower, Planned
from instar_controller.engines.invoker import Invoker
from instar_controller.engines.preparer import Preparer
from instar_controller.errors import SettingsError, StoreError
from instar_controller.notices import Announce, Listening, Removed
from instar_controller.ports import Clock, Store
from instar_controller.settings import HttpSettings, PlanningSettings, ServeSettings
from instar_controller.whisk.document import Key
from instar_controller.whisk.identity import Identity

STORE_FILE = "store.sqlite"
KEY_FILE = "key"
CONTAINERS_FOLDER = "containers"
PLANS_FOLDER = "plans"


def serve(settings: ServeSettings, environment: Mapping[str, str], announce: Announce) -> None:
    """Serve until SIGINT or SIGTERM. To be called from the main thread; containers start with `environment`.

    Raises `SettingsError` if the port or the containers' engine cannot be had, `StoreError` if the state
    directory cannot.
    """
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(_listen(settings.http))
        url = f"http://{_host_and_port(listener)}"
        clock = SystemClock()
        store = DiskStore(_private_folder(settings.state) / STORE_FILE)
        stack.callback(store.close)
        identity = _identity(store, clock, settings)
        containers, weights, *_ = _containers(settings, environment, url)
        stack.callback(weights.close)
        costs = _costs(settings.planning, environment, announce)
        follower = _follower(settings, costs.get, store, environment, announce)
        stack.callback(follower.close)
        stack.callback(costs.close)
        preparer = Preparer(store, weights)
        stack.callback(preparer.close)
        experience = Experience(follower)
        invoker = Invoker(
            containers,
            store,
            clock,
            weights,
            pool=settings.pool,
            settings=settings.engine,
            estimate=experience.estimate,
            on_seen=experience.learn,
            on_up=lambda start: notices.announce_if_stem_cell(start, announce),
            on_removed=lambda remove, ending: announce(Removed(remove.container, remove.reason, ending)),
        )
        stopping = _Stopping(invoker, settings.drain_s)
        stack.callback(stopping.finish)

        def on_change(key: Key) -> None:
            follower.changed(key)
            preparer.changed(key)

        app = create_app(
            Services(
                store=store,
                invocations=invoker,
                clock=clock,
                limits=settings.limits,
                manifest=settings.manifest,
                on_change=on_change,
            )
        )
        server = _server(app, listener, settings.http)
        stack.callback(server.close)
        stopping.on_signals()
        invoker.start()
        announce(Listening(url, identity, settings))
        follower.start()
        preparer.start()
        server.run()


class _Stopping:
    """The end, once a signal has asked for it: the engine closes beside the server, which still has answers
    to give."""

    def __init__(self, invoker: Invoker, drain_s: float) -> None:
        self._closing = threading.Thread(target=lambda: invoker.close(drain_s=drain_s), name="instar-closing")

    def on_signals(self) -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._begin)

    def finish(self) -> None:
        """Return when the engine is closed."""
        if self._closing.ident is None:
            self._closing.start()
        self._closing.join()

    def _begin(self, _number: int, _frame: FrameType | None) -> NoReturn:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)  # an impatient second one must not leave half of it standing
        self._closing.start()
        raise SystemExit  # ends the server's loop; it then waits for the answers that are on their way


def _listen(http: HttpSettings) -> socket.socket:
    family = socket.AF_INET6 if ":" in http.host else socket.AF_INET
    try:
        return socket.create_server((http.host, http.port), family=family, backlog=1024)
    except OSError as error:
        why = os.strerror(error.errno) if error.errno else str(error)
        raise SettingsError(
            f"cannot listen on port {http.port} of {http.host}: {why}; choose another with --port"
        ) from error


def _host_and_port(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _server(app: object, listener: socket.socket, http: HttpSettings) -> waitress.server.MultiSocketServer:
    logging.getLogger("waitress.queue").setLevel(logging.ERROR)  # a queue of requests is no news here
    return waitress.create_server(
        app,
        sockets=[listener],
        threads=http.threads,
        connection_limit=http.connections,
        backlog=1024,
        asyncore_use_poll=True,
        recv_bytes=1 << 18,
        inbuf_overflow=http.buffered_body_bytes,
        max_request_body_size=http.max_body_bytes,
        ident="instar",
    )


def _identity(store: Store, clock: Clock, settings: ServeSettings) -> Identity:
    """Whose server this is; made on the first start. The key also lies in a file that only its owner can
    read."""
    found = identities.of_namespace(store, settings.namespace)
    identity = found or identities.create(store, clock, settings.namespace)
    path = settings.state / KEY_FILE
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(identity.api_key + "\n")
    except OSError as error:
        raise StoreError(f"cannot write the key to {path}: {error.strerror}; choose another --state") from error
    return identity


def _containers(settings: ServeSettings, environment: Mapping[str, str], url: str) -> making.Made:
    return making.containers(
        making.ContainerSettings(
            docker=settings.docker,
            manifest=settings.manifest,
            folder=settings.state / CONTAINERS_FOLDER,
            owner=owner_of(settings.state),
            pool_memory_mb=settings.pool.memory_mb,
            api_host=url,
            store=settings.store,
        ),
        environment,
    )


def _costs(
    settings: PlanningSettings | None,
    environment: Mapping[str, str],
    announce: Callable[[Measuring | Measured], None],
) -> GivenCosts | DeviceCosts:
    if settings is None:
        return GivenCosts(None)
    if settings.costs is not None:
        return GivenCosts(settings.costs)
    return DeviceCosts(settings.profiles, environment, announce=announce)


def _follower(
    settings: ServeSettings,
    costs: Callable[[], Costs | None],
    store: Store,
    environment: Mapping[str, str],
    announce: Callable[[Planned], None],
) -> Follower:
    """Who has plans made between the stored actions' models, once somebody knows what they cost."""
    is_here = settings.docker is None  # a container is processes of this machine, and has its files and environment
    return Follower(
        store,
        PlanRepository(settings.state / PLANS_FOLDER),
        costs,
        namespaces=identities.namespaces(store),
        surroundings=Surroundings(
            everywhere=environment.get(MODEL) if is_here else None, credentials=environment, shares_files=is_here
        ),
        processes=settings.planning.processes if settings.planning else 0,
        on_planned=announce,
    )


def _private_folder(path: Path) -> Path:
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(
            f"cannot make the state directory {path}: {error.strerror}; choose another with --state"
        ) from error
    return path
