"""The plans of a cluster, in a database that its nodes and dispatchers share: an `engines.repository.Repository`.

One rule: a document is named after what it is of, and the names of plans are digests of all that they were made of.
So two who write the same one at the same time have written the same, and neither has to know of the other.

    model:MODEL                    a package's `model.json` (`kept_models.py`)
    plan:COSTS:SOURCE:TARGET       an entry as `plans.encode` writes it, and its estimates for people and views
    action:NS/[PKG/]NAME           which models an action has
    roll                           at which costs, where all have the same

Data are base64 in their document: it comes whole, or not at all.
"""

from __future__ import annotations

import base64
import binascii
import threading
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from instar.plan.outline import Outline
from instar_controller.clients import kept_models, plans
from instar_controller.clients.plans import Answer, KeptPlan
from instar_controller.clients.roll import Entry, Roll
from instar_controller.cluster_ports import Documents
from instar_controller.errors import StoreError, TooLargeError
from instar_controller.whisk.values import Json, JsonObject

MODEL, PLAN, ACTION = "model:", "plan:", "action:"
ROLL = "roll"
TRIES = 5  # to write what somebody else writes, too
MOST_CHARACTERS = 7_500_000  # of data in a document: CouchDB's default limit for one is 8 MB

Pair = tuple[str, str]


class PlanDocuments:
    """Models, plans and the roll, as documents. It can be sent to another process where `documents` can."""

    def __init__(self, documents: Documents) -> None:
        self._documents = documents
        self._lock = threading.Lock()  # for what follows
        self._actions: dict[str, JsonObject] | None = None  # documents by id, as they were seen last

    def __reduce__(self) -> tuple[type[PlanDocuments], tuple[Documents]]:
        return PlanDocuments, (self._documents,)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PlanDocuments) and self._documents == other._documents

    def __hash__(self) -> int:
        return hash(self._documents)

    def put_model(self, digest: str, model_json: bytes) -> None:
        """See `Repository`, as for all that follow. Raises `TooLargeError`, too."""
        data = _encoded(kept_models.encode(model_json), f"the model {digest}")
        self._overwrite({"_id": MODEL + digest, "type": "model", "digest": digest, "data": data})

    def model_json(self, digest: str) -> bytes | None:
        return kept_models.decode(_data(self._documents.find([MODEL + digest]).get(MODEL + digest)))

    def outline(self, digest: str) -> Outline | None:
        return kept_models.outline(digest, self.model_json(digest))

    def put(self, source: str, target: str, costs: str, answer: Answer) -> None:
        self._overwrite(
            {
                "_id": plan_id(source, target, costs),
                "type": "plan",
                "costs": costs,
                "source": source,
                "target": target,
                "plan": isinstance(answer, KeptPlan),
                "transform_ns": answer.estimate.transform_ns,
                "load_ns": answer.estimate.load_ns,
                "data": _encoded(plans.encode(source, target, costs, answer), "the plan"),
            }
        )

    def find(self, source: str, target: str, costs: str) -> Answer | None:
        return self.find_all([(source, target)], costs).get((source, target))

    def find_all(self, pairs: Iterable[Pair], costs: str) -> Mapping[Pair, Answer]:
        return answers(self._documents.find([plan_id(*pair, costs) for pair in pairs]), costs)

    def put_roll(self, roll: Roll) -> None:
        """Raises `StoreError` also where somebody else writes it, too; nothing of theirs is lost then."""
        wanted = {str(document["_id"]): document for document in _roll_documents(roll)}
        with self._lock:
            stored = self._known()
            news: list[JsonObject] = [
                document if id not in stored else {**document, "_rev": stored[id]["_rev"]}
                for id, document in wanted.items()
                if not _says(stored.get(id), document)
            ]
            news += [{"_id": id, "_rev": stored[id]["_rev"], "_deleted": True} for id in stored if id not in wanted]
            if not news:
                return
            self._actions = None  # nobody knows what was written, if this fails
            revisions = self._documents.put(news)
            lost = [str(document["_id"]) for document, revision in zip(news, revisions, strict=True) if not revision]
            if lost:
                raise StoreError(f"{len(lost)} documents, {lost[0]} among them, were changed by somebody else")
            for document, revision in zip(news, revisions, strict=True):
                if document.get("_deleted"):
                    del stored[str(document["_id"])]
                else:
                    stored[str(document["_id"])] = {**document, "_rev": revision}
            self._actions = stored

    def roll(self) -> Roll | None:
        with self._lock:
            self._actions = None
            stored = self._known()
            head = stored.get(ROLL)
            if head is None:
                return None
            found = [each for id, document in stored.items() if id != ROLL and (each := enrolled(document))]
        located = {entry.location: digest for entry, digest in found if entry.location is not None and digest}
        return Roll(str(head.get("costs")), str(head.get("device")), tuple(entry for entry, _ in found), located)

    def collect(self, *, models: Collection[str], costs: Collection[str]) -> int:
        stored = self._documents.under(MODEL)
        unused = {id: revision for id, revision in stored.items() if id[len(MODEL) :] not in models}
        for id, revision in self._documents.under(PLAN).items():
            rates, *pair = id[len(PLAN) :].split(":")
            if rates not in costs or not all(digest in models for digest in pair):
                unused[id] = revision
        gone = self._documents.put([{"_id": id, "_rev": each, "_deleted": True} for id, each in unused.items()])
        return sum(revision is not None for revision in gone)

    def _overwrite(self, document: JsonObject) -> None:
        """Write a document, in the place of any other one."""
        id = str(document["_id"])
        if self._documents.put([document])[0] is not None:
            return
        for _ in range(TRIES):
            stored = self._documents.find([id]).get(id, {})
            if all(stored.get(key) == value for key, value in document.items()):
                return
            replaced = {**document, "_rev": stored["_rev"]} if "_rev" in stored else document
            if self._documents.put([replaced])[0] is not None:
                return
        raise StoreError(f"the document {id} was changed by somebody else {TRIES} times while it was written")

    def _known(self) -> dict[str, JsonObject]:
        """The documents of actions and of the roll itself."""
        if self._actions is None:
            ids = [*self._documents.under(ACTION), ROLL]
            self._actions = dict(self._documents.find(ids))
        return self._actions


def plan_id(source: str, target: str, costs: str) -> str:
    """The name of the document of a plan."""
    return f"{PLAN}{costs}:{source}:{target}"


def answers(documents: Mapping[str, JsonObject], costs: str) -> dict[Pair, Answer]:
    """What came of planning at these costs, of all documents that say so undamaged."""
    found: dict[Pair, Answer] = {}
    prefix = f"{PLAN}{costs}:"
    for id, document in documents.items():
        if not id.startswith(prefix):
            continue
        source, _, target = id.removeprefix(prefix).partition(":")
        data = _data(document)
        answer = None if data is None else plans.decode(source, target, costs, data)
        if answer is not None:
            found[source, target] = answer
    return found


def enrolled(document: JsonObject) -> tuple[Entry, str | None] | None:
    """What the document of an action says: its models, and the digest of the one that lies elsewhere; None if it is
    damaged."""
    match document:
        case {"action": str(action), "revision": int() | str() as revision, "archived": Mapping() as archived}:
            location, located, code = (document.get(key) for key in ("location", "located", "code"))
            entry = Entry(
                action,
                revision,
                {name: str(digest) for name, digest in archived.items()},
                str(location) if location is not None else None,
                str(code) if code is not None else None,
            )
            return entry, str(located) if located is not None else None
        case _:
            return None


def _roll_documents(roll: Roll) -> Iterable[JsonObject]:
    yield {"_id": ROLL, "type": "roll", "costs": roll.costs, "device": roll.device}
    for entry in roll.entries:
        document: dict[str, Json] = {
            "_id": ACTION + entry.action,
            "type": "action",
            "action": entry.action,
            "revision": entry.revision,
            "archived": dict(entry.archived),
            "location": entry.location,
            "located": None if entry.location is None else roll.located.get(entry.location),
            "code": entry.code,
        }
        yield document


def _says(stored: JsonObject | None, wanted: JsonObject) -> bool:
    return stored is not None and all(stored.get(key) == value for key, value in wanted.items())


def _encoded(data: bytes, what: str) -> str:
    text = base64.b64encode(data).decode()
    if len(text) > MOST_CHARACTERS:
        raise TooLargeError(
            f"{what} takes {len(text)} characters in a shared database; at most {MOST_CHARACTERS} are kept there"
        )
    return text


def _data(document: JsonObject | None) -> bytes | None:
    text: Any = None if document is None else document.get("data")
    try:
        return None if text is None else base64.b64decode(text, validate=True)
    except (binascii.Error, TypeError, ValueError):
        return None
