"""`Subjects` over CouchDB: the view from which OpenWhisk itself knows whom to turn away."""

from __future__ import annotations

from collections.abc import Sequence

from instar_controller.clients.couch.database import Database

DESIGN = "namespaceThrottlings"
_VIEW = "blockedNamespaces"


class CouchSubjects:
    """See `cluster_ports.Subjects`."""

    def __init__(self, database: Database, *, design: str = DESIGN) -> None:
        self._database = database
        self._design = design

    def blocked(self, namespaces: Sequence[str]) -> frozenset[str]:
        if not namespaces:
            return frozenset()
        keys = list(dict.fromkeys(namespaces))
        rows = self._database.rows(self._design, _VIEW, query={"reduce": "false"}, keys=[*keys])
        return frozenset(key for row in rows if isinstance(key := row.get("key"), str))
