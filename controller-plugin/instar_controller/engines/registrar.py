"""What becomes of an action that was written: its models are registered, and those that it had are forgotten.

One rule: an archive is opened once. What is known of a revision, or of code that only moved on to a new one, is taken
from the roll, and models that lie at a URL are read by a thread of their own, for that may take as long as their
source likes.

Which actions were written is for others to see: `follower` where the API is ours, `feed` where it is OpenWhisk's.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from queue import SimpleQueue
from typing import Protocol

from instar.package import Package
from instar_controller.clients import models
from instar_controller.clients.models import Surroundings
from instar_controller.clients.roll import Entry, Roll
from instar_controller.clients.weights import MODEL
from instar_controller.engines import enrolment as enrolments
from instar_controller.engines.enrolment import Enrolment, name_of
from instar_controller.errors import NotFoundError, TooLargeError
from instar_controller.whisk import parameters
from instar_controller.whisk.parameters import Parameters

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Stored:
    """An action as it is stored now, as far as its models go."""

    action: str  # `ns/[pkg/]name`
    revision: int | str
    location: str | None  # of a model that its environment names
    read: Callable[[], str]  # its archive in base64, "" if it is none; may raise `NotFoundError` and `StoreError`
    code: str | None = None  # what tells this archive from others; None if that takes reading it


@dataclass(frozen=True, slots=True)
class Read:
    """What was found at a location; None if nothing can be."""

    location: str
    model: Package | None


class Models(enrolments.Models, Protocol):
    """The registered models: a `Registry`, or several."""

    def register(self, name: str, model: Package) -> str:
        """Have plans made between this model and all others; returns its digest. Raises `StoreError`."""

    def adopt(self, name: str, digest: str) -> bool:
        """Register a model that is kept from an earlier time; False if it is not. May raise `StoreError`."""


class Registrar:
    """Enrols actions. For one thread, which `on_read` hands to `locate` what a reader's thread found.

    It is to be started and closed. `roll` is what was known at an earlier time.
    """

    def __init__(
        self,
        models: Models,
        surroundings: Surroundings,
        *,
        roll: Roll | None,
        on_read: Callable[[Read], None],
    ) -> None:
        self.enrolment = Enrolment(models, everywhere=surroundings.everywhere)
        self._models = models
        self._surroundings = surroundings
        self._known = {entry.action: entry for entry in roll.entries} if roll else {}
        self._known_located = dict(roll.located) if roll else {}
        self._on_read = on_read
        self._reading: set[str] = set()
        self._locations: SimpleQueue[str | None] = SimpleQueue()
        self._is_closed = False
        self._reader = threading.Thread(target=self._read_locations, name="instar-model-reader", daemon=True)

    def start(self) -> None:
        """Begin to read what lies elsewhere."""
        self._reader.start()

    def close(self) -> None:
        """Read no more. Does not wait for a source."""
        self._is_closed = True
        self._locations.put(None)

    def take(self, stored: Stored) -> None:
        """An action is stored like this now. Raises `StoreError`, and whatever `stored.read` does; then it may be
        told again. Raises `TooLargeError` for a model that the repository never takes."""
        entry = self._known_entry(stored)
        if entry is None:
            try:
                code = stored.read()
            except NotFoundError:  # written again since, so it will be told of again
                return
            entry = Entry(stored.action, stored.revision, self._register(stored.action, code), code=stored.code)
        self._known.pop(stored.action, None)
        location = stored.location
        self.enrolment.enrol(replace(entry, location=location))
        if location is not None and location not in self._reading:
            digest = self._known_located.get(location)
            if digest is not None and self._models.adopt(location, digest):
                self.enrolment.locate(location, digest)
            self._known_located.pop(location, None)
            self._reading.add(location)
            self._locations.put(location)

    def strike(self, action: str) -> None:
        """An action is no more, or has no models of ours."""
        self._known.pop(action, None)
        self.enrolment.strike(action)

    def locate(self, read: Read) -> None:
        """Something was found at a location. Raises `StoreError`; then nothing has changed."""
        if read.model is not None:
            try:
                self.enrolment.locate(read.location, self._models.register(read.location, read.model))
            except TooLargeError as error:
                logger.warning("the model at %s gets no plans: %s", read.location, error)
        self._reading.discard(read.location)

    def location(self, given: Parameters) -> str | None:
        """Where the model lies that a function's environment names, as far as it depends on no request: `given` are
        the parameters of its package and its own, merged."""
        named = next((each for each in given if each.key == MODEL and each.init), None)
        text = self._surroundings.everywhere if named is None else parameters.environment_text(named.value)
        return (text or "").rstrip("/") or None

    def _known_entry(self, stored: Stored) -> Entry | None:
        """What is enrolled of this revision or this code, or was known at an earlier time and is still kept."""
        enrolled = self.enrolment.entry(stored.action)
        if enrolled is not None and _is_same(enrolled, stored):
            return replace(enrolled, revision=stored.revision)
        known = self._known.get(stored.action)
        if known is None or not _is_same(known, stored):
            return None
        names = known.archived.items()
        is_kept = all(self._models.adopt(name_of(known.action, name), digest) for name, digest in names)
        return replace(known, revision=stored.revision) if is_kept else None

    def _register(self, action: str, code: str) -> dict[str, str]:
        """The digests of the models in an action's archive, by name. Raises `StoreError`."""
        found = models.of_archive(code, whose=action) if code else {}
        return {name: self._models.register(name_of(action, name), model) for name, model in found.items()}

    def _read_locations(self) -> None:
        while (location := self._locations.get()) is not None and not self._is_closed:
            try:
                model = models.at(location, self._surroundings)
            except Exception:
                logger.exception("the model at %s gets no plans", location)
                model = None
            self._on_read(Read(location, model))


def _is_same(entry: Entry, stored: Stored) -> bool:
    return entry.revision == stored.revision or (stored.code is not None and entry.code == stored.code)
