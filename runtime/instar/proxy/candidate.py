"""The function that a container is to become, as far as it can be had without a process: unpacked, its models found.

The rule: it lies in a place of its own, where nobody gets to yet, so whatever is wrong with it does no harm to the
function that there is. No code of it is run or compiled here.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from instar.action import archive, packages
from instar.action.frames import Fork, Start
from instar.proxy.limits import BodyLimits
from instar.proxy.places import Place, Places
from instar.proxy.requests import Init, Owner
from instar.weights.store import Store


@dataclass(frozen=True, slots=True)
class Candidate:
    """All that it takes to start it."""

    place: Place
    fork: Fork
    start: Start
    owner: Owner | None


def build(init: Init, place: Place, places: Places, limits: BodyLimits) -> Candidate:
    """Unpack a function in its place. Raises `InstarError` or `OSError`, and then the place is gone again."""
    directory = place.action
    try:
        place.make()
        archive.unpack(init.code, directory)
        source = archive.main_source(directory)
        archive.activation_script(directory)
        models = packages.find(directory)
        models += packages.named({**os.environ, **init.environ}, directory, place.packages)
        models = packages.set_apart(models, directory, place.packages, Store(places.store))
    except BaseException:
        place.remove()
        raise
    return Candidate(
        place,
        Fork(models, str(places.store), str(places.own), str(directory)),
        Start(str(directory), str(source), init.main, init.environ, limits.run_bytes),
        init.owner,
    )
