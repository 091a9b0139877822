"""What an action's `requirements.txt` asks for, against what is there.

The rule: `/init` needs no network, so nothing is installed; a requirement that neither the image nor the archive
meets is refused at once and by name, instead of as an import error some calls later. (The stock runtime runs
pip inside `/init`, on the action's time.)
"""

from __future__ import annotations

import sys
from importlib import metadata
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement

from instar.errors import ArchiveError


def check(directory: Path) -> None:
    """Raises `ArchiveError` that lists the unmet requirements. A bundled `virtualenv` is not looked into."""
    path = directory / "requirements.txt"
    if not path.is_file() or (directory / "virtualenv").is_dir():
        return
    lines = (line.partition(" #")[0].strip() for line in path.read_text("utf-8", "replace").splitlines())
    # Options (-r, --index-url, …) say where pip would look; there is nothing to look for.
    unmet = [line for line in lines if line and line[0] not in "#-" and not _is_met(line, directory)]
    if unmet:
        raise ArchiveError(
            f"requirements.txt asks for {', '.join(unmet)}, which the image does not have, and packages are not "
            "installed at /init: ship them in the archive (pip install --target . -r requirements.txt, "
            "or a virtualenv directory)."
        )


def _is_met(line: str, directory: Path) -> bool:
    try:
        wanted = Requirement(line)
    except InvalidRequirement:
        return False
    if wanted.marker is not None and not wanted.marker.evaluate():
        return True
    found = metadata.distributions(name=wanted.name, path=[str(directory), *sys.path])
    return any(wanted.specifier.contains(one.version, prereleases=True) for one in found)
