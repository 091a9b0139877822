"""The processes of a container, which live and die as one.

    gunicorn's master ── proxy (gunicorn's one worker: Flask, threads)
         └── zygote ── executor, worker

The rule: four things hold a container up, the lifeline and the master, proxy and zygote processes. When one of
them goes, however it went, the others end everything; nobody tries to go on with a part.

The master serves no request; it starts the proxy and ends what is left.
"""

from __future__ import annotations

import contextlib
import gc
import os
import select
import signal
import socket
import threading
from collections.abc import Callable
from typing import Any, NoReturn

from flask import Flask
from gunicorn.app.base import BaseApplication

from instar.action import privileges, processes, remains
from instar.action.privileges import Apart, Isolation, Role
from instar.errors import ProcessError
from instar.proxy import app, slots
from instar.proxy.function import Function
from instar.proxy.limits import BodyLimits
from instar.proxy.places import Places
from instar.proxy.zygote import TOKEN, Zygote

THREADS = 128  # requests at once, most of which wait; a thread is started when it is first needed


class Container:
    """Owns the processes and the working directory, which is removed at the end."""

    def __init__(
        self, zygote: Zygote, places: Places, *, isolation: Isolation, limits: BodyLimits, lifeline: int | None
    ) -> None:
        self._zygote = zygote
        self._places = places
        self._isolation = isolation
        self._limits = limits
        self._lifeline = lifeline

    def serve(self, listener: socket.socket) -> NoReturn:
        """Answer requests until the container ends, then exit."""
        server = _Server(
            self._application,
            bind=f"fd://{listener.detach()}",
            worker_class="gthread",
            workers=1,
            threads=THREADS,
            timeout=0,  # a function may compute for as long as its caller waits
            graceful_timeout=0,  # SIGTERM means now
            keepalive=5,
            errorlog="-",
            loglevel="error",
            control_socket_disable=True,
            when_ready=self._on_ready,
            pre_fork=self._before_fork,
            post_fork=self._on_fork,
            child_exit=self._on_proxy_exit,
            on_exit=self._on_stop,
        )
        server.run()
        self._end(1)  # gunicorn gave up by itself

    def _application(self) -> Flask:
        function = Function(self._zygote, self._places, limits=self._limits, slots=slots.allowed(os.environ))
        return app.create(function, self._limits, token=os.environ.get(TOKEN) or None)

    # gunicorn calls hooks by the number of their parameters

    def _before_fork(self, _master: object, _proxy: object) -> None:
        gc.collect()
        gc.freeze()  # the proxy's first full collection, thousands of runs later, would copy every page it shares

    def _on_ready(self, _master: object) -> None:
        # Not gunicorn's own way to stop: it kills a proxy at work, and then may report that as an error.
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT):
            signal.signal(number, lambda *_: self._end(0))

    def _on_fork(self, _master: object, _proxy: object) -> None:
        privileges.become(Role.PROXY, self._isolation)
        processes.name_self("instar-proxy")
        master_pidfd = os.pidfd_open(os.getppid())
        threading.Thread(target=self._guard, args=(master_pidfd,), name="guard", daemon=True).start()

    def _on_proxy_exit(self, _master: object, _proxy: object) -> None:
        self._end(1)

    def _on_stop(self, _master: object) -> None:
        self._end(0)

    def _guard(self, master_pidfd: int) -> None:
        """Wait, in the proxy, until something that holds the container up has gone."""
        poll = select.poll()
        watched = [master_pidfd, self._zygote.pidfd, self._lifeline]
        for descriptor in watched:
            if descriptor is not None:
                poll.register(descriptor, select.POLLIN)
        gone = {descriptor for descriptor, _ in poll.poll()}
        if self._lifeline in gone:
            os.kill(os.getppid(), signal.SIGTERM)
        else:
            os._exit(1)  # which the master sees, or, if it is the master that went, the zygote

    def _end(self, status: int) -> NoReturn:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # the ends that follow are ours
        with contextlib.suppress(OSError, ProcessError):
            remains.end_all(self._isolation, [place.action for place in self._places.functions()])
        processes.end_descendants()
        self._places.remove()
        if isinstance(self._isolation, Apart):
            with contextlib.suppress(OSError):  # it has gone, unless only its maker may remove it
                privileges.return_to_root()
                self._places.work.rmdir()
        os._exit(status)


class _Server(BaseApplication):  # type: ignore[misc]  # gunicorn has no types
    """gunicorn, configured by us alone: no file, no environment, no command line."""

    def __init__(self, load: Callable[[], Flask], **settings: Any) -> None:
        self._load = load
        self._settings = settings
        super().__init__()

    def load_config(self) -> None:
        for name, value in self._settings.items():
            self.cfg.set(name, value)

    def load(self) -> Flask:
        return self._load()
