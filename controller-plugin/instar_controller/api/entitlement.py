"""What a caller may do: everything in the own namespace, and use what other namespaces share.

One rule: only packages are shared, by `publish`, and only for reading and invoking. Pure functions: they
are given the documents and answer by returning or raising `ForbiddenError`.
"""

from __future__ import annotations

from instar_controller.errors import ForbiddenError
from instar_controller.whisk.identity import Identity
from instar_controller.whisk.package import Package


def require_own(caller: Identity, namespace: str, *path: str) -> None:
    """Raises unless `namespace` is the caller's; `path` is what lies in it, for the message."""
    if namespace != caller.namespace:
        raise _forbidden(namespace, *path)


def require_shared(caller: Identity, package: Package, *path: str) -> None:
    """Raises unless the caller may read `package` and invoke what is in it."""
    if package.namespace != caller.namespace and not package.publish:
        raise _forbidden(package.namespace, package.name, *path)


def require_kind(caller: Identity, kind: str) -> None:
    """Raises if the caller's namespace is confined to other kinds."""
    allowed = caller.limits.allowed_kinds
    if allowed is not None and kind not in allowed:
        raise ForbiddenError(f"The supplied authentication is not authorized to access actions of kind '{kind}'.")


def _forbidden(*path: str) -> ForbiddenError:
    resource = "/".join(path)
    return ForbiddenError(f"The supplied authentication is not authorized to access '{resource}'.")
