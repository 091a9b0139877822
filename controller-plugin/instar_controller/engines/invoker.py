"""The engine: takes invocations on, has the scheduler decide, and carries out what it commands.

From the moment `submit` has accepted an invocation two promises are owed, each exactly once and in this order,
whatever breaks (`debts.py`): it is *answered* as soon as its function has answered, with the record without its log;
and it is *finished*, with the record as it is kept. Every thread that works on a job ends by paying for it, and a
mistake of our own is caught where commands are carried out.

The scheduler is called under one lock and only here. Its commands are carried out without the lock, by
threads that may block. A caller gets its answer before the log is read; a container serves again once its
log is read; the record with its log is kept last.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace

from instar_controller import log_context
from instar_controller.cluster_ports import Records
from instar_controller.engines import logs, messages, storing
from instar_controller.engines.debts import NOBODY, Debts, Hearer
from instar_controller.engines.errand import Errand, Made, Spoiled, Unseen, Untouched
from instar_controller.engines.orders import Command, Fail, Pause, Remove, Run, Start, StartKind, Transformation, Work
from instar_controller.engines.scheduler import PoolSettings, Scheduler
from instar_controller.errors import ContainerError, ImageError, OverloadedError
from instar_controller.policies import estimates
from instar_controller.policies.estimates import Estimate
from instar_controller.policies.observations import Booted, Observation, Slept
from instar_controller.policies.removal import Reason, Why
from instar_controller.policies.snapshot import Container, ContainerId, Job
from instar_controller.ports import Clock, Containers, Delivery, Ending, Log, PendingLog, Weights
from instar_controller.whisk import response as responses
from instar_controller.whisk.activation import Activation, ActivationId
from instar_controller.whisk.invocation import Invocation
from instar_controller.whisk.response import Response

logger = logging.getLogger(__name__)

# Of these removals an operator should hear; the others are the functions' own doing, or daily business.
NEWS = frozenset(
    {
        Why.ENDED,
        Why.UNREACHABLE,
        Why.LOG_LOST,
        Why.PAUSE_FAILED,
        Why.RESUME_FAILED,
        Why.TRANSFORMATION_FAILED,
        Why.OUR_MISTAKE,
    }
)
NO_LOG = Log((), is_complete=True, is_truncated=False)
UNREAD = Log((), is_complete=False, is_truncated=False)


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """The engine's own limits."""

    name: str = "invoker0/instar"
    threads: int = 64  # a container keeps one busy, two when it is removed; a finished job one for a moment
    queue_length: int = 1024  # jobs that may wait; beyond, callers are told to come back
    log_wait_ms: int = 2000  # for the sentinels of an answered run, or the end of a container's streams
    unmarked_kinds: Collection[str] = frozenset()  # whose containers write no sentinels
    quiet_log_ms: int = 100  # of silence, after which the log of a container that may write none is taken for whole
    removal_s: float = 15.0  # for the containers at the very end; what is left then is killed
    max_result_bytes: int = 1 << 20


class Invoker:
    """Drives the pool; owns the scheduler, the debts and the threads. `start` it before use, `close` it
    after."""

    def __init__(
        self,
        containers: Containers,
        records: Records,
        clock: Clock,
        weights: Weights,
        *,
        pool: PoolSettings,
        settings: EngineSettings,
        estimate: Estimate = estimates.nothing_known,
        on_seen: Callable[[Observation], None] = lambda _: None,
        on_up: Callable[[Start], None] = lambda _: None,
        on_removed: Callable[[Remove, Ending | None], None] = lambda *_: None,
    ) -> None:
        """`estimate` knows how long each way to a container takes; it is asked under the scheduler's lock. `on_seen`
        is told how long each part took, by the thread that did it. An `Experience` is both.

        `on_up` is told of every container that has come up, `on_removed` of every one that has gone, each
        by the thread that saw to it."""
        numbers = itertools.count(1)
        self._containers = containers
        self._records = records
        self._clock = clock
        self._weights = weights
        self._settings = settings
        self._on_seen = on_seen
        self._on_up = on_up
        self._on_removed = on_removed
        self._errand = Errand(containers, clock, max_result_bytes=settings.max_result_bytes, tell=on_seen)
        self._debts = Debts()
        self._lock = threading.Lock()  # for what follows
        self._scheduler = Scheduler(pool, lambda: ContainerId(f"c{next(numbers)}"), estimate)
        self._deliveries: dict[ActivationId, Delivery] = {}  # of the starts that are under way
        self._failures: dict[ActivationId, Response] = {}  # what is to be said where it is the user's fault
        self._is_closing = False
        self._interrupted: Response | None = None  # what is said of functions that are cut short from now on
        self._alarm_s: float | None = None  # what the timer waits for
        self._alarm = threading.Condition(self._lock)  # it has to be sooner
        self._stepped = threading.Condition(self._lock)  # something has happened to a container
        self._hands = ThreadPoolExecutor(settings.threads, "instar-engine")
        self._timer = threading.Thread(target=self._keep_time, name="instar-engine-timer", daemon=True)

    def start(self) -> None:
        """Begin to keep time, and with the stem cells."""
        self._timer.start()
        self._tell(Scheduler.tick)

    def submit(self, invocation: Invocation, hearer: Hearer = NOBODY) -> Future[Activation]:
        """Take an invocation on: see `ports.Invocations`. The `hearer` is told of the answer before the future
        is, and of the end.
        """
        action = invocation.action
        kind = action.exec.container_kind
        job = Job(invocation.container_key, kind, action.limits.memory_mb, action.shares_containers)
        with self._lock:
            if self._is_closing or self._scheduler.waiting >= self._settings.queue_length:
                raise OverloadedError()
            future = self._debts.owe(invocation, hearer)
        work = Work(invocation.activation_id, job)
        try:
            self._tell(lambda scheduler, now_s: scheduler.submit(work, now_s))
        except Exception:  # a mistake of ours: what is owed is owed
            logger.exception("activation %s cannot be scheduled", work.id)
            self._fail(work)
        return future

    def join(self, id: ActivationId, hearer: Hearer) -> bool:
        """Have the `hearer` told of an invocation that is under way, in the place of who was told so far; False if
        there is none.
        """
        return self._debts.join(id, hearer)

    def containers(self) -> tuple[Container, ...]:
        """Every container that has not gone, as it is now."""
        with self._lock:
            return self._scheduler.containers

    def invokers(self) -> Mapping[str, str]:
        """This one, by its name."""
        return {self._settings.name: "down" if self._is_closing else "up"}

    def close(self, *, drain_s: float, interrupted: Response | None = None) -> None:
        """Take nothing on any more, let what runs run for `drain_s`, give up the rest, remove all containers.

        What runs then has this response, `interrupted`; or else that of a function whose container has ended.

        Every completion is given and every record is written when it returns.
        """
        with self._lock:
            self._is_closing = True
            self._alarm.notify()
        self._debts.wait_until_paid(drain_s)
        self._interrupted = interrupted
        self._tell(Scheduler.close)
        with self._lock:
            self._stepped.wait_for(lambda: not self._scheduler.containers, self._settings.removal_s)
        self._containers.close()
        self._debts.wait_until_paid(self._settings.removal_s)
        self._hands.shutdown()
        self._timer.join()

    # The scheduler: under the lock, without I/O.

    def _tell(self, event: Callable[[Scheduler, float], list[Command]]) -> None:
        with self._lock:
            commands = event(self._scheduler, time.monotonic())
            wake_s = self._scheduler.wake_not_before_s()
            if wake_s is not None and (self._alarm_s is None or wake_s < self._alarm_s):
                self._alarm.notify()
            self._stepped.notify_all()
        self._give(commands)

    def _keep_time(self) -> None:
        while True:
            with self._lock:
                if self._is_closing:
                    return
                self._alarm_s = self._scheduler.wake_s()
                left_s = None if self._alarm_s is None else self._alarm_s - time.monotonic()
                if left_s is None or left_s > 0:
                    self._alarm.wait(left_s)
                    continue
            self._tell(Scheduler.tick)

    def _give(self, commands: Iterable[Command]) -> None:
        for command in commands:
            if isinstance(command, Fail):
                self._perform(command)  # it waits for nothing
                continue
            try:
                self._hands.submit(self._perform, command)
            except RuntimeError:  # shut down: this is the last thing that is done
                self._perform(command)

    # The commands: without the lock, in threads that may block.

    def _perform(self, command: Command) -> None:
        with self._about(command):
            self._try(command)

    def _about(self, command: Command) -> contextlib.AbstractContextManager[None]:
        """What is logged meanwhile is about the activation that the command is for, if it is for one."""
        match command:
            case Start(work=Work() as work) | Run(work=work) | Fail(work=work):
                if (invocation := self._debts.get(work.id)) is not None:
                    return log_context.about(
                        invocation.activation_id,
                        invocation.transaction_id,
                        extra_logging=invocation.extra_logging,
                    )
        return contextlib.nullcontext()

    def _try(self, command: Command) -> None:
        try:
            match command:
                case Start():
                    self._boot(command)
                case Run():
                    self._run(command)
                case Pause():
                    self._pause(command)
                case Remove():
                    self._remove(command)
                case Fail(work):
                    self._fail(work)
        except Exception:  # a mistake of ours must not cost anybody the answer
            logger.exception("%s failed", command)
            if isinstance(command, (Run, Start, Pause)):
                self._break(command.container, Reason(Why.OUR_MISTAKE, "see the server's log"))
            if isinstance(command, (Run, Fail)):
                self._settle(command.work)

    def _boot(self, start: Start) -> None:
        id = start.container
        began_s = time.monotonic()
        if start.work is not None:
            self._send_for_weights(start.work)
        try:
            self._containers.start(id, kind=start.kind, memory_mb=start.memory_mb, key=start.key, on_exit=self._end)
        except ContainerError as error:
            level = logging.DEBUG if self._is_closing else logging.WARNING
            logger.log(level, "container %s (%s, %s MB) did not start: %s", id, start.kind, start.memory_mb, error)
            if start.work is not None and isinstance(error, ImageError):
                with self._lock:
                    self._failures[start.work.id] = responses.developer_error(str(error))
            self._tell(lambda scheduler, now_s: scheduler.start_failed(id, now_s))
        else:
            self._on_seen(Booted(start.kind, _since_ms(began_s)))
            self._tell(lambda scheduler, now_s: scheduler.came_up(id, now_s))
            self._on_up(start)

    def _pause(self, pause: Pause) -> None:
        id = pause.container
        began_s = time.monotonic()
        try:
            self._containers.pause(id)
        except ContainerError as error:
            self._break(id, Reason(Why.PAUSE_FAILED, str(error)))
        else:
            self._on_seen(Slept(pause.kind, _since_ms(began_s)))
            self._tell(lambda scheduler, now_s: scheduler.paused(id, now_s))

    def _remove(self, remove: Remove) -> None:
        ending = self._containers.remove(remove.container)
        self._tell(lambda scheduler, now_s: scheduler.removed(remove.container, now_s))
        told = f"{remove.reason} ({ending})" if ending else str(remove.reason)
        level = logging.WARNING if remove.reason.why in NEWS else logging.INFO
        logger.log(level, "container %s is removed: %s", remove.container, told)
        self._on_removed(remove, ending)

    def _run(self, run: Run) -> None:
        id = run.container
        invocation = self._debts.get(run.work.id)
        assert invocation is not None, "a job that runs is owed its completion"
        if run.start in (StartKind.PREWARMED, StartKind.TRANSFORMED):
            self._send_for_weights(run.work)
        logger.log(log_context.detail(), "activation %s goes to container %s: %s", run.work.id, id, run.start.value)
        limit_mb = invocation.action.limits.logs_mb
        mark = None if run.transformation is None else messages.mark(invocation)
        with self._delivery(run.work) as delivery:
            if delivery is not None and (code := delivery.lean_code()) is not None:
                invocation = invocation.with_code(code)
            try:
                log = self._containers.begin_log(id, limit_bytes=limit_mb * logs.MIB, mark=mark)
            except ContainerError as error:
                self._run_elsewhere(run, Reason(Why.UNREACHABLE, str(error)))
                return
            made = None
            if run.transformation is not None:
                made = self._transform(run, run.transformation, invocation)
                if made is None:
                    return
            result = self._errand.carry_out(run, invocation, delivery, made)
        if isinstance(result, Unseen):
            self._run_elsewhere(run, result.reason)
        elif result.ruin is None:
            # The next call of a caller that has its answer must find this container waiting for its log,
            # not busy.
            self._tell(lambda scheduler, now_s: scheduler.answered(id, now_s))
            self._debts.answer(result.activation)
            read = self._collect(log, invocation)
            if read.is_complete:
                self._tell(lambda scheduler, now_s: scheduler.collected(id, now_s))
            else:
                self._break(id, Reason(Why.LOG_LOST, f"activation {run.work.id}"))
            self._finish(invocation, self._with_log(result.activation, invocation, read))
        else:
            self._break(id, result.ruin)  # ends the function if it still runs, and its streams with it
            activation = self._unless_interrupted(result.activation, result.ruin)
            self._debts.answer(activation)
            read = self._collect(log, invocation)
            self._finish(invocation, self._with_log(activation, invocation, read))

    def _transform(self, run: Run, transformation: Transformation, invocation: Invocation) -> Made | None:
        """Make the donor into the function of this run; None if that could not be, and the job is decided again."""
        id, work = run.container, run.work
        source = transformation.source.action
        match self._errand.transform(run, transformation, invocation):
            case Made() as made:
                self._tell(lambda scheduler, now_s: scheduler.transformed(id, work, now_s))
                how = f"{made.how or 'no word how'}{f': {made.why}' if made.why else ''}"
                logger.info("container %s, which was %s, is %s (%s)", id, source, work.job.key.action, how)
                return made
            case Untouched(reason):
                logger.info("container %s stays %s, not for activation %s: %s", id, source, work.id, reason)
                self._tell(lambda scheduler, now_s: scheduler.untouched(id, work, now_s))
            case Spoiled(why):
                self._tell(lambda scheduler, now_s: scheduler.spoiled(id, work, why, now_s))
            case Unseen(why):
                self._run_elsewhere(run, why)
        return None

    def _run_elsewhere(self, run: Run, reason: Reason) -> None:
        logger.info("container %s has not seen activation %s: %s", run.container, run.work.id, reason)
        if run.transformation is not None:
            self._tell(lambda scheduler, now_s: scheduler.donor_lost(run.container, run.work, reason, now_s))
        elif run.work.is_second_try:
            self._break(run.container, reason)
            self._fail(run.work)
        else:
            self._tell(lambda scheduler, now_s: scheduler.put_back(run.container, run.work, reason, now_s))

    def _fail(self, work: Work) -> None:
        """There is no container for this work: complete it as the platform's failure, or the image's."""
        with self._lock:
            response = self._failures.pop(work.id, None)
        if (invocation := self._debts.get(work.id)) is not None:
            with self._delivery(work):
                self._finish(invocation, self._errand.give_up(invocation, response))

    def _settle(self, work: Work) -> None:
        """Somebody was interrupted by a mistake of ours: give what is still owed."""
        answer = self._debts.answer_of(work.id)
        invocation = self._debts.get(work.id)
        if answer is None or invocation is None:
            self._fail(work)
        else:
            self._finish(invocation, self._with_log(answer, invocation, UNREAD))

    def _send_for_weights(self, work: Work) -> None:
        """A container is started or initialised for this work: its model's weights can come meanwhile."""
        invocation = self._debts.get(work.id)
        if invocation is None:  # it was given up meanwhile
            return
        try:
            delivery = self._weights.begin(invocation)
        except Exception:  # a mistake of ours: the container fetches for itself
            logger.exception("the weights of activation %s are not sent for", work.id)
            return
        with self._lock:
            self._deliveries[work.id] = delivery
        if self._debts.get(work.id) is None:  # given up by now, and whoever did that may have looked too early
            with self._delivery(work):
                pass

    @contextlib.contextmanager
    def _delivery(self, work: Work) -> Iterator[Delivery | None]:
        """What was sent for when the start for this work was decided, for the last time; None for a warm one."""
        with self._lock:
            delivery = self._deliveries.pop(work.id, None)
        try:
            yield delivery
        finally:
            if delivery is not None:
                delivery.close()

    def _end(self, id: ContainerId) -> None:
        """A container has ended, by itself or because it is being removed."""
        self._break(id, Reason(Why.ENDED))

    def _break(self, id: ContainerId, reason: Reason) -> None:
        self._tell(lambda scheduler, now_s: scheduler.broken(id, reason, now_s))

    def _unless_interrupted(self, activation: Activation, ruin: Reason) -> Activation:
        """The same, unless it was us who ended its container."""
        if self._interrupted is None or ruin.why is not Why.DISCONNECTED:
            return activation
        return replace(activation, response=self._interrupted)

    def _collect(self, log: PendingLog, invocation: Invocation) -> Log:
        if invocation.action.limits.logs_mb == 0:
            return NO_LOG
        patience_ms, code = self._settings.log_wait_ms, invocation.action.exec
        if code.is_trusted and code.kind not in self._settings.unmarked_kinds:
            return log.collect(timeout_ms=patience_ms)
        found = log.collect_until_quiet(quiet_ms=self._settings.quiet_log_ms, timeout_ms=patience_ms)
        return replace(found, is_complete=True)

    def _with_log(self, activation: Activation, invocation: Invocation, log: Log) -> Activation:
        limit_mb = invocation.action.limits.logs_mb
        now_ns = self._clock.now_ms() * 1_000_000
        return activation.with_logs(logs.lines(log, activation.response, limit_mb=limit_mb, now_ns=now_ns))

    def _finish(self, invocation: Invocation, activation: Activation) -> None:
        """Tell that it is finished, and keep its record if it is to have one."""
        logger.log(
            log_context.detail(),
            "activation %s has ended with %s after %s ms; its log has %s lines",
            activation.activation_id,
            activation.response.status.text,
            activation.duration,
            len(activation.logs),
        )
        if self._debts.finish(activation):
            storing.keep(self._records, activation, invocation.store_level)


def _since_ms(began_s: float) -> float:
    return (time.monotonic() - began_s) * 1000
