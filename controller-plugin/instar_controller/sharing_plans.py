"""The part of a program that has to do with plans between models, which a whole cluster shares.

One rule: nobody waits for it and nothing depends on it. Without its database, or without knowing what a device costs,
models are loaded, as they are where nobody plans.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
from collections.abc import Collection, Iterator, Mapping

from instar import profiles
from instar_controller import cluster_parts
from instar_controller.clients.costs import DeviceCosts, GivenCosts, Measured, Measuring
from instar_controller.clients.couch.connection import Connection
from instar_controller.clients.couch.database import Database
from instar_controller.clients.couch.documents import CouchDocuments
from instar_controller.clients.couch.entities import CouchEntities
from instar_controller.clients.metrics import Metrics
from instar_controller.clients.models import Surroundings
from instar_controller.clients.plan_views import DESIGN
from instar_controller.cluster_settings import ProgramSettings
from instar_controller.engines.shared_plans import SharedPlans
from instar_controller.engines.shared_registry import SharedRegistry
from instar_controller.settings import PlanningSettings
from instar_controller.whisk.manifest import Manifest

logger = logging.getLogger(__name__)

FAMILY = "pytorch"  # of the kinds whose actions have models


@contextlib.contextmanager
def offered(
    program: ProgramSettings, planning: PlanningSettings, environment: Mapping[str, str]
) -> Iterator[SharedPlans]:
    """The plans that the cluster has for this kind of device, as long as the context lasts."""
    costs: GivenCosts | DeviceCosts
    if planning.costs is None:
        costs = DeviceCosts(planning.profiles, environment, announce=_log)
        device = profiles.device_kind()
    else:
        costs = GivenCosts(planning.costs)
        device = planning.costs.device
    with contextlib.closing(costs):
        plans = SharedPlans(_documents(program), device=device, measure=costs.get)
        with contextlib.closing(plans):
            plans.start()
            yield plans


@contextlib.contextmanager
def registered(
    program: ProgramSettings,
    manifest: Manifest,
    connection: Connection,
    environment: Mapping[str, str],
    *,
    owner: str,
) -> Iterator[SharedRegistry]:
    """This program's share in registering models and planning, as long as the context lasts."""
    entities = CouchEntities(Database(connection, program.database.entities))
    registry = SharedRegistry(
        entities,
        _documents(program),
        owner=owner,
        feed=program.database.entities,
        manifest=manifest,
        kinds=_kinds_with_models(manifest),
        surroundings=Surroundings(credentials=environment),
    )
    with contextlib.closing(registry):
        registry.start()
        yield registry


def watch_offers(metrics: Metrics, plans: SharedPlans) -> None:
    """Have it told how the plans of a node are used, whenever somebody reads the metrics."""

    def known() -> Mapping[str, float]:
        return {"in memory": plans.at_hand, "in the database": plans.plans - plans.at_hand}

    metrics.watch("instar_planned_actions", "Actions with models that plans are known for.", lambda: plans.actions)
    metrics.watch_each("instar_plans", "Plans between two models, by where they are.", "where", known)
    metrics.count_each(
        "instar_plan_lookups_total",
        "Pairs of models whose plan was asked for when a job needed a container, by what was found.",
        "found",
        lambda: dataclasses.asdict(plans.lookups),
    )


def watch_planning(metrics: Metrics, registry: SharedRegistry) -> None:
    """Have it told what this program has planned, whenever somebody reads the metrics."""

    def pairs() -> Mapping[str, float]:
        effort = registry.effort
        return {
            "plan": effort.planned,
            "load": effort.instead,
            "failed": effort.failed,
            "known already": effort.found,
        }

    metrics.watch(
        "instar_planning", "Whether it is this program that makes plans.", lambda: float(registry.is_working)
    )
    metrics.count_each("instar_planned_pairs_total", "Pairs of models, by what came of planning.", "outcome", pairs)
    metrics.count("instar_planning_seconds_total", "Processor time of planning.", lambda: registry.effort.planning_s)


def _documents(program: ProgramSettings) -> CouchDocuments:
    assert program.database.plans is not None, "whoever plans has a database for it"
    return CouchDocuments(cluster_parts.couch_settings(program.database), program.database.plans, DESIGN)


def _kinds_with_models(manifest: Manifest) -> Collection[str]:
    """Those that are made of the same images as the kinds of the family that brings models."""
    images = {kind.image for kind in manifest.families.get(FAMILY, ())}
    return {kind.kind for kind in manifest.kinds if kind.image in images}


def _log(news: Measuring | Measured) -> None:
    match news:
        case Measuring(device):
            logger.info("measuring what models cost on %s, once", device)
        case Measured(device, held_out):
            logger.info("%s is measured; estimates that were held against others: %s", device, held_out)
