"""Containers of a Docker engine: see `ports.Containers`.

One rule: a container has its name, and its record here, before the engine is asked for it. So it can be removed
at any moment, and what a killed server leaves behind carries its label and is removed by the next one.

One thread attends each container: it follows the log, so that lines are there before anybody asks, and
notices the end. The engine keeps the log; pausing a container therefore loses nothing.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace

from instar_controller.clients import exchange
from instar_controller.clients.docker import arguments, freezer
from instar_controller.clients.docker.arguments import Plan, Request
from instar_controller.clients.docker.engine import Engine, lacks
from instar_controller.clients.docker.freezer import Freezer
from instar_controller.clients.docker.leftovers import Leftovers
from instar_controller.clients.exchange import Address, Connections
from instar_controller.clients.logbook import STREAMS, Logbook
from instar_controller.errors import ContainerError, ImageError, SettingsError, UnansweredError
from instar_controller.policies.snapshot import ContainerId
from instar_controller.ports import NOT_OFFERED, UNTOUCHED, Ending, PendingLog
from instar_controller.whisk.invocation import ContainerKey
from instar_controller.whisk.response import EXITED_IN_INIT, Disconnected, Outcome, OutOfMemory, Replied, TimedOut

logger = logging.getLogger(__name__)

PORT = 8080  # where OpenWhisk's runtimes listen
NODE_STORE = "INSTAR_NODE_STORE"  # in the environment of an image of Instar's: where the node's weights are mounted
READY = "/ready"  # ours answers once it is up; stock ones answer anything at once
NO_COMMAND = "executable file not found"  # how the engine says that an image's command is not in it
KNOCK_S = 0.02  # between two attempts to reach a container that does not listen yet
OOM_WAIT_S = 0.1  # for the news, after an answer that says that a process died


@dataclass(slots=True, eq=False)
class _Container:
    """One container; `lock` guards `is_up` and `is_over`, and with them who tells of the end."""

    id: ContainerId
    name: str
    on_exit: Callable[[ContainerId], None]
    token: str | None = field(repr=False)  # None: its image is not Instar's
    book: Logbook = field(default_factory=Logbook)
    connections: Connections = field(default_factory=Connections)
    address: Address | None = None
    is_started: bool = False
    lock: threading.Lock = field(default_factory=threading.Lock)
    is_up: bool = False
    is_over: bool = False
    is_leaving: bool = False
    is_gone: bool = False
    freezer: Freezer | None = None  # known once it was to sleep for the first time
    is_frozen: bool = False  # by it, of which the engine knows nothing
    making: threading.Lock = field(default_factory=threading.Lock)  # held while it is made, and while removed
    has_ended: threading.Event = field(default_factory=threading.Event)  # and `on_exit` was told

    @property
    def known_address(self) -> Address:
        assert self.address is not None, "what is up has an address"
        return self.address


class DockerContainers:
    """Containers of one engine that all follow one plan. `prepare` it before use."""

    def __init__(
        self,
        engine: Engine,
        plan: Plan,
        *,
        start_limit_s: float = 60.0,
        end_limit_s: float = 2.0,
        find_freezer: Callable[[int, str], Freezer | None] = freezer.find,
    ) -> None:
        """`start_limit_s` is for a boot; `end_limit_s` for the end of a container that ought to end.

        `find_freezer` finds a quicker way to put containers to sleep than the engine's.
        """
        self._engine = engine
        self._plan = plan
        self._start_limit_s = start_limit_s
        self._end_limit_s = end_limit_s
        self._find_freezer = find_freezer
        self._lacking: frozenset[str] = frozenset()  # images
        self._containers: dict[ContainerId, _Container] = {}
        self._lock = threading.Lock()  # for the dictionary and what follows
        self._is_closed = False
        self._is_silent = False  # the engine, when it was asked last: then nobody waits for it who need not
        self._leftovers = Leftovers(self._labelled, self._is_known, self._remove_leftover)

    def ask(self) -> None:
        """Return if the engine answers. Raises `UnansweredError` if it does not; that takes some seconds at most."""
        try:
            self._engine.ask()
        except UnansweredError:
            self._is_silent = True
            raise
        self._is_silent = False

    def prepare(self) -> None:
        """Remove what an earlier run left behind, and look for images and network.

        Raises `SettingsError` if nothing could ever be started, `UnansweredError` if the engine does not say.
        """
        try:
            if self._engine.lacks_network(self._plan.network):
                raise SettingsError(
                    f"the Docker engine has no network '{self._plan.network}'; make it with "
                    f"`docker network create {self._plan.network}`"
                )
            images = set(self._plan.images.values())
            lacking = {image for image in images if self._engine.lacks_image(image)}
            self._lacking = frozenset(lacking)
            if self._plan.store is not None and not self._engine.is_on_this_machine:
                raise SettingsError(
                    f"--store {self._plan.store}: {self._engine} may not see this machine's files; add --store none"
                )
            self._plan = replace(self._plan, stores=self._stores(images - lacking))
            self._remove_all(self._labelled())
        except ContainerError as error:  # an engine that is just starting or ending may answer with its own failures
            raise UnansweredError(str(error)) from error
        if lacking.issuperset(self._plan.images.values()):
            raise SettingsError("; ".join(lacks(image) for image in sorted(lacking)))
        for kind, image in self._plan.images.items():
            if image in lacking:
                logger.warning("actions of kind %s cannot run: %s", kind, lacks(image))

    @property
    def kinds_with_image(self) -> Sequence[str]:
        """The kinds of which there can be containers; known once it is prepared, as things were then."""
        return [kind for kind, image in self._plan.images.items() if image not in self._lacking]

    @property
    def kinds_with_store(self) -> Sequence[str]:
        """The kinds whose containers read the node's weights; known once it is prepared."""
        if self._plan.store is None:
            return []
        return [kind for kind, image in self._plan.images.items() if image in self._plan.stores]

    def start(
        self,
        id: ContainerId,
        *,
        kind: str,
        memory_mb: int,
        key: ContainerKey | None,
        on_exit: Callable[[ContainerId], None],
    ) -> None:
        """Make the container and wait until it answers."""
        token = exchange.make_token() if arguments.is_instars(self._plan, kind) else None
        request = Request(id, kind, memory_mb, key, token)
        container = _Container(id, arguments.name(self._plan, request), on_exit, token)
        with self._lock:
            if self._is_closed:
                raise ContainerError(f"container {id} is not started: its maker is closed")
            self._containers[id] = container
        try:
            self._bring_up(container, request)
        except ImageError:
            self.remove(id)
            raise
        except ContainerError as error:
            self.remove(id)
            raise ContainerError(f"container {id} did not come up: {error}") from error

    def post(self, id: ContainerId, path: str, body: bytes, *, timeout_ms: int, max_reply_bytes: int) -> Outcome:
        """One exchange over TCP. Where a process died of it, the engine is asked whether for want of memory."""
        container = self._get(id)
        since_ns = time.time_ns()
        outcome = exchange.post(
            container.known_address,
            path,
            body,
            timeout_ms=timeout_ms,
            max_reply_bytes=max_reply_bytes,
            connections=container.connections,
        )
        return self._settled(container, outcome, since_ns)

    def transform(self, id: ContainerId, body: bytes, *, timeout_ms: int, max_reply_bytes: int) -> Outcome:
        """As `post`, with the container's token; only containers of Instar's images have one."""
        container = self._get(id)
        if container.token is None:
            return NOT_OFFERED
        since_ns = time.time_ns()
        outcome = exchange.transform(
            container.known_address,
            container.token,
            body,
            timeout_ms=timeout_ms,
            max_reply_bytes=max_reply_bytes,
            connections=container.connections,
        )
        if isinstance(outcome, Replied) and outcome.status == UNTOUCHED:
            return outcome
        return self._settled(container, outcome, since_ns)

    def begin_log(self, id: ContainerId, *, limit_bytes: int, mark: str | None = None) -> PendingLog:
        """See `ports.Containers`."""
        book = self._get(id).book
        book.begin(limit_bytes, mark=mark)
        return book

    def pause(self, id: ContainerId) -> None:
        """Freeze all its processes."""
        container = self._get(id)
        container.freezer = container.freezer or self._freezer(container.name)
        if container.freezer is None:
            self._engine.pause(container.name)
            return
        container.is_frozen = True
        container.freezer.freeze()

    def resume(self, id: ContainerId) -> None:
        """Let its processes run on."""
        container = self._get(id)
        if container.freezer is None:
            self._engine.unpause(container.name)
            return
        container.freezer.thaw()
        container.is_frozen = False

    def remove(self, id: ContainerId) -> Ending | None:
        """Kill the container, read its log to the end, and have the engine forget it.

        Where the engine does not do it, the container is gone for us all the same, and removed once it can be.
        """
        with self._lock:
            container = self._containers.get(id)
        if container is None:
            return None
        container.is_leaving = True
        with container.making:
            if container.is_gone:
                return None
            ending = None
            try:
                if self._is_silent:
                    raise UnansweredError("the Docker engine does not answer")
                self.ask()  # one that does not answer would hold us up with each of the questions
                if container.is_started:
                    ending = self._own_ending(container)
                    if container.is_frozen:
                        self._thaw(container.name)
                    self._kill(container)
                self._engine.remove(container.name)
            except ContainerError as error:
                logger.error(
                    "container %s is not removed: %s; it is tried again, or remove it with `docker rm -f %s`",
                    id,
                    error,
                    container.name,
                )
                self._leftovers.expect()
                if container.is_started:
                    ending = ending or Ending(None)
                    _abandon(container)
            container.is_gone = True
            with self._lock:
                del self._containers[id]
        return ending

    def close(self) -> None:
        """Remove every container that is left, and start no more."""
        with self._lock:
            self._is_closed = True
            left = list(self._containers)
        with ThreadPoolExecutor(8, "instar-closing") as hands:
            list(hands.map(self.remove, left))
        if self._leftovers.close():
            self._leave()
        self._engine.close()

    def __repr__(self) -> str:
        return f"<DockerContainers: {', '.join(self._containers) or 'none'}>"

    def _stores(self, images: Iterable[str]) -> Mapping[str, str]:
        """Where each image of Instar's looks for weights, for it says so. Raises `ContainerError`."""
        places = {image: self._engine.environment(image).get(NODE_STORE) for image in images}
        return {image: place for image, place in places.items() if place}

    def _get(self, id: ContainerId) -> _Container:
        with self._lock:
            container = self._containers.get(id)
        if container is None or container.is_over:
            raise ContainerError(f"there is no container {id}")
        return container

    def _bring_up(self, container: _Container, request: Request) -> None:
        """Make a container and wait until it answers. Raises `ImageError` where the image is a user's and to blame,
        else `ContainerError`.
        """
        if not arguments.is_users(self._plan, request.kind):
            self._make(container, request)
            self._await_answer(container)
            return
        was_pulled = self._pull(request.kind)
        try:
            self._make(container, request)
        except ContainerError as error:
            if not was_pulled:
                raise ImageError(_not_pulled(arguments.image(self._plan, request.kind))) from error
            if NO_COMMAND in str(error):
                raise ImageError(str(error)) from error
            raise
        try:
            self._await_answer(container)
        except ContainerError as error:
            if container.is_leaving:
                raise
            logger.info("container %s of a user's image did not come up: %s", container.id, error)
            raise ImageError(EXITED_IN_INIT) from error

    def _pull(self, kind: str) -> bool:
        """Fetch a user's image, if it is to be; whether it can be relied on. Raises `ImageError` if it is to be the
        latest and that cannot be had.
        """
        if not arguments.is_pulled(self._plan, kind):
            return True
        image = arguments.image(self._plan, kind)
        try:
            self._engine.pull(image)
        except ContainerError as error:
            logger.warning("%s", error)
            if arguments.is_latest(image):
                raise ImageError(_not_pulled(image)) from error
            return False
        return True

    def _make(self, container: _Container, request: Request) -> None:
        with container.making:
            if container.is_leaving:
                raise ContainerError("it is removed")
            try:
                self._engine.create(container.name, arguments.creation(self._plan, request))
                self._engine.start(container.name)
            except UnansweredError:
                self._leftovers.expect()  # the engine may make it yet, long after we have given it up
                raise
            container.is_started = True
            threading.Thread(
                target=self._attend, args=(container,), name=f"instar-{container.id}", daemon=True
            ).start()
        try:
            container.address = (self._engine.address(container.name, self._plan.network), PORT)
        except ContainerError as error:
            if container.has_ended.wait(self._end_limit_s):  # so soon that it has lost its address again
                raise self._ended(container) from error
            raise
        logger.info("container %s is %s", container.id, container.name)

    def _await_answer(self, container: _Container) -> None:
        """Return when the container answers. Raises `ContainerError` if it does not."""
        assert container.address is not None, "it was made"
        deadline_s = time.monotonic() + self._start_limit_s
        while (left_s := deadline_s - time.monotonic()) > 0:
            try:
                answer = exchange.get(
                    container.address,
                    READY,
                    timeout_ms=round(left_s * 1000),
                    max_reply_bytes=1000,
                    connections=container.connections,
                )
            except ContainerError:
                answer = Disconnected()  # it does not listen yet
            if isinstance(answer, Replied):
                with container.lock:
                    container.is_up = not container.is_over
                if container.is_up:
                    return
            if isinstance(answer, TimedOut):
                break
            if container.has_ended.wait(KNOCK_S):
                raise self._ended(container)
        raise ContainerError(f"no answer within {self._start_limit_s:g} s; {container.book.last_words()}")

    def _settled(self, container: _Container, outcome: Outcome, since_ns: int) -> Outcome:
        match outcome:
            case Disconnected():
                container.has_ended.wait(self._end_limit_s)
            case Replied(status) if status >= 400:
                pass
            case _:
                return outcome
        if self._is_silent:
            return outcome
        try:
            if self._engine.ran_out_of_memory(container.name, since_ns=since_ns, patience_s=OOM_WAIT_S):
                return OutOfMemory()
        except ContainerError as error:
            logger.warning("container %s: whether its memory was exhausted is not known: %s", container.id, error)
        return outcome

    def _attend(self, container: _Container) -> None:
        """Follow the log and see the container end; whatever goes wrong, its end is told."""
        try:
            for frame in self._engine.output(container.name):
                container.book.feed(frame.stream, frame.data, now_ns=frame.written_ns)
            self._engine.wait(container.name)
        except ContainerError as error:
            logger.log(logging.DEBUG if container.is_leaving else logging.WARNING, "%s", error)
        finally:
            _end(container)

    def _ended(self, container: _Container) -> ContainerError:
        ending = self._own_ending(container)
        return ContainerError(f"it ended{f' ({ending})' if ending else ''}; {container.book.last_words()}")

    def _own_ending(self, container: _Container) -> Ending | None:
        try:
            state = self._engine.state(container.name)
        except UnansweredError:
            raise
        except ContainerError:
            return Ending(None)
        return Ending(state.status, state.was_out_of_memory) if state.has_ended else None

    def _labelled(self) -> Sequence[str]:
        """The names of all containers with our label. Raises `ContainerError`, soon if nobody answers."""
        self.ask()
        return self._engine.labelled(arguments.OWNER, self._plan.owner)

    def _is_known(self, name: str) -> bool:
        with self._lock:
            return any(container.name == name for container in self._containers.values())

    def _leave(self) -> None:
        """Remove what is left over, for the last time, or say that it stays."""
        left = "removed by the next start of this program"
        if self._is_silent:
            logger.error("the Docker engine does not answer; the containers that it still has are %s", left)
            return
        try:
            for name in self._leftovers.look():
                logger.error("container %s is left over, and %s", name, left)
        except ContainerError as error:
            logger.error("%s; the containers that are left over are %s", error, left)

    def _kill(self, container: _Container) -> None:
        try:
            self._engine.kill(container.name)
        except UnansweredError:
            raise
        except ContainerError as error:
            logger.warning("%s", error)
        if not container.has_ended.wait(self._end_limit_s):
            logger.warning("container %s did not end within %s s", container.id, self._end_limit_s)

    def _remove_all(self, names: Iterable[str]) -> None:
        with ThreadPoolExecutor(8, "instar-leftovers") as hands:
            list(hands.map(self._remove_or_expect, names))

    def _remove_leftover(self, name: str) -> None:
        self._thaw(name)  # whoever left it behind may have frozen it
        self._engine.remove(name)

    def _remove_or_expect(self, name: str) -> None:
        """Remove one that was left over, now or later."""
        try:
            self._remove_leftover(name)
        except ContainerError as error:
            logger.error("%s; it is tried again, or remove it with `docker rm -f %s`", error, name)
            self._leftovers.expect()

    def _freezer(self, name: str) -> Freezer | None:
        """The container's own switch. Raises `ContainerError` if the engine cannot tell."""
        if not self._engine.is_on_this_machine:
            return None
        found = self._engine.process(name)
        return None if found is None else self._find_freezer(*found)

    def _thaw(self, name: str) -> None:
        """Let it run, so that it can end."""
        try:
            if (found := self._freezer(name)) is not None:
                found.thaw()
        except ContainerError as error:
            logger.warning("container %s cannot be thawed: %s", name, error)


def _abandon(container: _Container) -> None:
    """It may run on, but nobody waits for it any more; and it is awake, so that an engine that is back can end it."""
    if container.is_frozen and container.freezer is not None:
        with contextlib.suppress(ContainerError):  # its group has gone, and it with that
            container.freezer.thaw()
    _end(container)


def _end(container: _Container) -> None:
    for stream in STREAMS:
        container.book.end(stream, now_ns=time.time_ns())
    with container.lock:
        if container.is_over:
            return
        container.is_over = True
        was_up = container.is_up
    if was_up:
        container.on_exit(container.id)
    container.has_ended.set()
    container.connections.cut()


def _not_pulled(image: str) -> str:
    """In OpenWhisk's words."""
    return f"Failed to pull container image '{image}'."
