"""`Records` over CouchDB: activation records, written by `_bulk_docs` as the stock invoker does.

One rule: a record that is there stays as it is, and that is a success: CouchDB says "conflict" to whoever writes a
document without knowing its revision. What CouchDB says of each record of a batch is looked at, by its id, as the
answers come in any order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from instar_controller.clients.couch.connection import Reply
from instar_controller.clients.couch.database import Database, refusal
from instar_controller.errors import StoreError
from instar_controller.policies.keeping import (
    Answer,
    Answered,
    Fate,
    Kept,
    Record,
    Refused,
    Rejected,
    Stumbled,
    Unanswered,
    Unsettled,
)
from instar_controller.ports import Clock
from instar_controller.whisk import stored_activation
from instar_controller.whisk.activation import Activation
from instar_controller.whisk.values import compact

# What CouchDB says of a record for which the record is to blame; anything else may be its own trouble.
_TO_BLAME = ("forbidden", "unauthorized", "doc_validation", "bad_request", "illegal_docid", "document_too_large")


class CouchRecords:
    """See `cluster_ports.Records`; and a `Shelf` for `engines/keeper`."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    def put_activation(self, activation: Activation) -> None:
        document = stored_activation.document(activation, updated_ms=self._clock.now_ms())
        record = Record(str(document["_id"]), compact(document).encode())
        match self.write([record]):
            case Answered([Kept()]):
                return
            case Answered([Refused(reason) | Unsettled(reason)]):
                raise StoreError(f"{self._database}: the record {record.id} is not taken: {reason}")
            case Unanswered(reason) | Rejected(reason) | Stumbled(reason):
                raise StoreError(reason)

    def write(self, records: Sequence[Record]) -> Answer:
        """Write them, each for itself; one that is there already stays as it is, and counts as kept. Never raises."""
        body = b'{"docs":[%b]}' % b",".join(record.body for record in records)
        try:
            reply = self._database.exchange("POST", "_bulk_docs", body=body)
        except StoreError as error:
            return Unanswered(str(error))
        if reply.status in (200, 201, 202):
            return self._fates(records, reply)
        name, reason = reply.error
        what = f"{self._database}: writing {len(records)} records: {refusal(reply.status, reason or name)}"
        match reply.status:
            case 400 if name:  # CouchDB's own; anybody else's says nothing about what was sent
                return Rejected(what)
            case 413:
                return Rejected(what)
            case 500:
                return Stumbled(what)
            case _:
                return Unanswered(what)

    def _fates(self, records: Sequence[Record], reply: Reply) -> Answer:
        try:
            rows = reply.json()
        except ValueError as error:
            return Unanswered(f"{self._database}: the answer to a bulk write is no JSON: {error}")
        if not isinstance(rows, list):
            return Unanswered(f"{self._database}: the answer to a bulk write is no array")
        fates = {str(row.get("id")): _fate(row) for row in rows if isinstance(row, Mapping)}
        silent = Unsettled(f"{self._database}: the answer to a bulk write says nothing of this record")
        return Answered([fates.get(record.id, silent) for record in records])


def _fate(row: Mapping[str, object]) -> Fate:
    name, reason = str(row.get("error", "")), str(row.get("reason", ""))[:200]
    if "rev" in row or name == "conflict":
        return Kept()
    return Refused(f"{name}: {reason}") if name in _TO_BLAME else Unsettled(f"{name}: {reason}")
