"""The plans of a cluster, as a matrix to look at: read from the database that all its programs share.

One rule: nothing is written there and nobody is asked, so the programs may run meanwhile, and a user who may only
read will do. Plans are made for each kind of device; a matrix is of one.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping

from instar_controller import cluster_settings, matrix
from instar_controller import cluster_variables as names
from instar_controller.clients import plans
from instar_controller.clients.couch.connection import Connection, CouchSettings
from instar_controller.clients.couch.database import refusal
from instar_controller.clients.couch.documents import CouchDocuments
from instar_controller.clients.device_costs import ClusterCosts
from instar_controller.clients.plan_documents import PlanDocuments
from instar_controller.cluster_ports import Documents
from instar_controller.errors import SettingsError, StoreError
from instar_controller.matrix import Matrix


def read(environment: Mapping[str, str], device: str | None) -> Matrix:
    """The matrix for a kind of device; for the only one there is if that is None. The database is the one that the
    environment names, as for every program of the cluster.

    Raises `SettingsError` if it does not name one, or `device` none that plans are made for; `StoreError` if there is
    no such database, it is kept from us, or has no plans yet.
    """
    settings, name = cluster_settings.plans(environment)
    look_at(settings, name)
    return of(CouchDocuments(settings, name), f"{settings.url}/{name}", device)


def look_at(settings: CouchSettings, name: str) -> None:
    """Raises `StoreError` if the database cannot be read, with what to do about it."""
    with contextlib.closing(Connection(settings)) as connection:
        reply = connection.exchange("GET", (name,))
    match reply.status:
        case 200:
            return
        case 404:
            raise StoreError(
                f"CouchDB at {settings.url} has no database {name}: whoever plans first makes it, a dispatcher or an "
                f"invoker that stands alone; start one, or name the cluster's database in {names.PLANS_DATABASE.name}"
            )
        case 401 | 403:
            raise StoreError(
                f"CouchDB at {settings.url} keeps the database {name} from the user '{settings.username}' (it "
                f"answers {reply.status}); check {names.COUCHDB_USERNAME.name} and {names.COUCHDB_PASSWORD.name}"
            )
        case status:
            raise StoreError(f"CouchDB at {settings.url}: the database {name}: {refusal(status, reply.error[1])}")


def of(documents: Documents, place: str, device: str | None) -> Matrix:
    """The matrix that these documents make; `place` says where they are, for errors. Raises as `read` does."""
    repository = PlanDocuments(documents)
    roll = repository.roll()
    if roll is None:
        raise StoreError(
            f"{place} has no plans yet: no action with a model was registered; see whether a dispatcher, or an "
            "invoker that stands alone, is running and reads the database of actions"
        )
    costs = ClusterCosts(documents).all()
    if not costs:
        raise StoreError(
            f"{place} has no plans yet: nobody knows what models cost on any device. A node measures it where torch "
            f"is installed, or is told by {names.COSTS.name}: see deploy/README.md"
        )
    known = ", ".join(f"'{each}'" for each in sorted(costs))
    if device is None and len(costs) > 1:
        raise SettingsError(f"{place} has plans for {len(costs)} kinds of devices: choose one with --device: {known}")
    if device is not None and device not in costs:
        raise SettingsError(f"--device '{device}': {place} has no plans for it, but for {known}")
    chosen = costs[device] if device is not None else next(iter(costs.values()))
    return matrix.of(repository, roll, plans.key_of(chosen), chosen.device)
