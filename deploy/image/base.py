"""The base of the image: the official one, or, where that cannot be pulled, a stand-in for it.

The stand-in is Debian's own minimal system with Debian's own Python of the same version, trimmed like the official
slim images. It carries the official one's name, for the Dockerfile asks for that, and a label that tells them apart.
Its files are kept in `build/image`, so that another engine gets the same.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from deploy.image import names
from deploy.image.engine import Engine
from deploy.image.errors import BaseError
from docker.errors import APIError, ImageNotFound

SUITE = "bookworm"
INCLUDED = "python3,ca-certificates"
STAND_IN_LABEL = "instar.base"
TARBALL = names.BUILD / f"base-{SUITE}.tar"
PATH = "/usr/local/bin:/usr/local/sbin:/usr/bin:/usr/sbin:/bin:/sbin"
# Left out of the stand-in: documents, other languages, package lists and caches, and what names this machine.
EMPTIED = (
    *("usr/share/man", "usr/share/info", "usr/share/locale", "usr/share/lintian", "usr/share/groff"),
    *("var/lib/apt/lists", "var/cache/apt", "var/cache/debconf", "var/log", "dev", "proc", "sys", "tmp", "run"),
)
REMOVED = ("etc/hostname", "etc/resolv.conf", "etc/apt/sources.list")
DOCUMENTS = "usr/share/doc"  # only the licences stay

Say = Callable[[str], None]


def ensure(engine: Engine, say: Say) -> str:
    """Have the base on the engine. Says which one it is: `official` or `stand-in`. Raises `BaseError`."""
    try:
        image = engine.client.images.get(names.BASE)
    except ImageNotFound:
        say(f"pulling {names.BASE}")
        try:
            image = engine.client.images.pull(names.BASE)
        except APIError as error:
            say(f"a stand-in for {names.BASE}, which cannot be pulled")
            _import(engine, _tarball(error))
            image = engine.client.images.get(names.BASE)
    return "stand-in" if image.labels.get(STAND_IN_LABEL) else "official"


def _import(engine: Engine, tarball: Path) -> None:
    changes = [f"ENV PATH={PATH}", "ENV LANG=C.UTF-8", 'CMD ["python3"]', f"LABEL {STAND_IN_LABEL}=stand-in"]
    repository, _, tag = names.BASE.partition(":")
    engine.client.api.import_image_from_file(str(tarball), repository=repository, tag=tag, changes=changes)


def _tarball(unreachable: Exception) -> Path:
    if TARBALL.exists():
        return TARBALL
    if os.geteuid() != 0 or shutil.which("debootstrap") is None:
        raise BaseError(
            f"{names.BASE} is not on the engine and cannot be pulled ({unreachable}); a stand-in can be made by root "
            f"with debootstrap installed, or load the base with `docker load`"
        ) from unreachable
    TARBALL.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="instar-base-") as folder:
        root = Path(folder) / "root"
        _run("debootstrap", "--variant=minbase", f"--include={INCLUDED}", SUITE, str(root), *_mirror())
        for path in unwanted(root):
            path.unlink()
        partial = TARBALL.with_suffix(".part")
        _run("tar", "--create", "--numeric-owner", "--sort=name", f"--file={partial}", f"--directory={root}", ".")
        partial.rename(TARBALL)
    return TARBALL


def unwanted(root: Path) -> Iterator[Path]:
    """What is in a fresh Debian and not in a slim image, nor in anybody else's."""
    for place in EMPTIED:
        yield from (path for path in (root / place).rglob("*") if path.is_symlink() or not path.is_dir())
    yield from (path for path in (root / DOCUMENTS).rglob("*") if not path.is_dir() and path.name != "copyright")
    yield from (root / name for name in REMOVED if (root / name).exists())


def _mirror() -> list[str]:
    """Where this machine gets the suite from, if it does; debootstrap knows a place of its own."""
    if shutil.which("apt-get") is None:
        return []
    form = "$(RELEASE) $(COMPONENT) $(REPO_URI)"
    lines = _run("apt-get", "indextargets", "--format", form, "Created-By: Packages").splitlines()
    return [line.split()[2] for line in lines if line.split()[:2] == [SUITE, "main"]][:1]


def _run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
    if done.returncode:
        words = (done.stderr.strip() or done.stdout.strip()).splitlines()[-3:]
        raise BaseError(f"the base cannot be made: {command[0]} ended with {done.returncode}: {' / '.join(words)}")
    return done.stdout
