"""What a container is made with: the flags of OpenWhisk's Docker factory, as the engine's API takes them.

One rule: a container is a pure function of the server's plan and the request; nothing here asks the engine.

    --cpu-shares N --memory N --memory-swap N --network NAME --cap-drop NET_RAW --cap-drop NET_ADMIN
    --ulimit nofile=1024:1024 --pids-limit 1024 --log-driver json-file --name wsk… -e __OW_…

What is ours are the labels, by which a server finds, after a crash, what belongs to it, and nothing else; and, for
containers of Instar's own images, the mount of the node's weights and the token of who may transform them.
"""

from __future__ import annotations

import hashlib
import platform
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from instar_controller.clients import exchange
from instar_controller.policies.snapshot import ContainerId
from instar_controller.whisk.action import BLACKBOX
from instar_controller.whisk.invocation import ContainerKey
from instar_controller.whisk.values import JsonObject

OWNER = "instar.serve"  # label: whose container it is
MIB = 1 << 20
TOTAL_SHARES = 1024  # of the processor, over all containers of a full pool
LEAST_SHARES = 2  # Docker takes no fewer
STORE = "INSTAR_STORE"  # in the environment of a container: where it looks for weights
INVOKER = "instar"  # the unique name of the one invoker of a server
OPEN_FILES = 1024
PROCESSES = 1024


@dataclass(frozen=True, slots=True)
class Plan:
    """What all containers of one server have in common."""

    owner: str
    network: str
    pool_memory_mb: int
    environment: Mapping[str, str]
    images: Mapping[str, str]  # by kind
    store: Path | None = None  # a directory of this machine that has weights for the containers of Instar's images
    stores: Mapping[str, str] = field(default_factory=dict)  # by image of Instar's: where it looks for weights
    trusted: frozenset[str] = frozenset()  # images of users' actions that are there already, and never pulled
    users_registry: str = ""  # of users' images whose names say none, with its last slash; "": Docker's own


@dataclass(frozen=True, slots=True)
class Request:
    """One container: see `ports.Containers.start`."""

    id: ContainerId
    kind: str
    memory_mb: int
    key: ContainerKey | None
    token: str | None = field(default=None, repr=False)  # of who may transform it, if that is possible at all


def image(plan: Plan, kind: str) -> str:
    """What containers of this kind are made of: the runtime's image, or the user's own, which the kind names."""
    if kind in plan.images:
        return plan.images[kind]
    name = _users_image(kind)
    return name if _names_registry(name) else plan.users_registry + name


def is_users(plan: Plan, kind: str) -> bool:
    """Whether this kind stands for an image that a user brings along."""
    return kind not in plan.images and kind.startswith(f"{BLACKBOX}:")


def is_pulled(plan: Plan, kind: str) -> bool:
    """Whether the image is fetched anew for each container."""
    return is_users(plan, kind) and _users_image(kind) not in plan.trusted


def _users_image(kind: str) -> str:
    """As the action names it."""
    return kind.removeprefix(f"{BLACKBOX}:")


def _names_registry(image: str) -> bool:
    """Whether an image's name begins with a host, as OpenWhisk tells it from a user: by its dots or its port."""
    host, slash, _ = image.partition("/")
    return bool(slash) and ("." in host or ":" in host)


def is_latest(image: str) -> bool:
    """Whether an image's name means whatever is newest: then it has to be pulled, while another may be there."""
    name = image.rpartition("/")[2]
    return "@" not in name and name.partition(":")[2] in ("", "latest")


def is_instars(plan: Plan, kind: str) -> bool:
    """Whether containers of this kind are made of an image of Instar's."""
    return plan.images.get(kind) in plan.stores


def owner_of(state: Path) -> str:
    """Who the server with this state directory is, among all that use an engine: the same after a restart."""
    return hashlib.sha256(f"{platform.node()}:{state.resolve()}".encode()).hexdigest()[:16]


def name(plan: Plan, request: Request) -> str:
    """`wsk<invoker>0_<number>_<namespace>_<action>`, or `…_prewarm_<kind>` for a stem cell."""
    if request.key is None:
        whose, what = "prewarm", request.kind
    else:
        whose, what = request.key.namespace, request.key.action.rpartition("/")[2]
    return "_".join((f"wsk{INVOKER}{plan.owner[:8]}0", _clean(request.id), _clean(whose), _clean(what)))


def creation(plan: Plan, request: Request) -> JsonObject:
    """The body of the engine's `POST /containers/create`."""
    memory_bytes = request.memory_mb * MIB
    made_of = image(plan, request.kind)
    environment = {**plan.environment, **_store_variable(plan, made_of)}
    if request.token is not None:
        environment[exchange.TOKEN] = request.token
    return {
        "Image": made_of,
        "Env": [f"{key}={value}" for key, value in environment.items()],
        "Labels": {OWNER: plan.owner},
        "HostConfig": {
            "CpuShares": cpu_shares(request.memory_mb, pool_memory_mb=plan.pool_memory_mb),
            "Memory": memory_bytes,
            "MemorySwap": memory_bytes,  # memory and swap together: there is no swap
            "NetworkMode": plan.network,
            "CapDrop": ["NET_RAW", "NET_ADMIN"],
            "Ulimits": [{"Name": "nofile", "Soft": OPEN_FILES, "Hard": OPEN_FILES}],
            "PidsLimit": PROCESSES,
            "LogConfig": {"Type": "json-file", "Config": {}},
            **_mounts(plan, made_of),
        },
    }


def _mounts(plan: Plan, image: str) -> JsonObject:
    """The node's weights, to be read, where the image has a place for them."""
    if plan.store is None or image not in plan.stores:
        return {}
    mount: JsonObject = {"Type": "bind", "Source": str(plan.store), "Target": plan.stores[image], "ReadOnly": True}
    return {"Mounts": [mount]}


def _store_variable(plan: Plan, image: str) -> Mapping[str, str]:
    return {} if plan.store is None or image not in plan.stores else {STORE: plan.stores[image]}


def cpu_shares(memory_mb: int, *, pool_memory_mb: int) -> int:
    """The part of the processors that goes with the part of the memory, rounded as OpenWhisk rounds it."""
    containers = max(1, pool_memory_mb // memory_mb)
    return max(TOTAL_SHARES // containers, LEAST_SHARES)


def _clean(text: str) -> str:
    return re.sub(r"[^a-zA-Z0-9_]", "", text)
