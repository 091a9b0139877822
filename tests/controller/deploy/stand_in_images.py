"""Images that stand in for those of compose.yaml that cannot be pulled here: Kafka, CouchDB and the controller.

Each has what the tests use elsewhere for the same part, and starts as compose.yaml expects of the real one: by its
variables, its command and its check of health. They are made of the plugin's image, which brings Python and Kafka's
client; the engine keeps what it has built, so a second run builds nothing. What is in `stand_ins` runs in there.
"""

from __future__ import annotations

import io
import re
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Mapping
from pathlib import Path

import brokers
import npm_packages
from deploy.image.engine import Engine

HERE = Path(__file__).parent
STAND_INS = HERE / "stand_ins"
PLACE = "/stand-in"
IMAGES = {service: f"instar-test/{service}:stand-in" for service in ("kafka", "couchdb", "controller")}
PYTHON = f"FROM {{base}}\nENTRYPOINT []\nUSER 0\nENV PYTHONPATH={PLACE}\nCOPY . /\n"
LIBRARY = re.compile(r"(/\S+) \(0x")  # in what ldd prints


def build(engine: Engine, base: str) -> Mapping[str, str]:
    """Build all, of the plugin's image; which image is for which service."""
    relay, controllers = HERE.parent / "kafka_relay.py", HERE.parent / "cluster" / "whisk_controllers.py"
    _build(
        engine,
        "kafka",
        PYTHON.format(base=base) + f'CMD ["python3", "{PLACE}/kafka.py"]\n',
        {
            f"{PLACE}/kafka.py": STAND_INS / "kafka.py",
            f"{PLACE}/kafka_relay.py": relay,
            f"{PLACE}/tansu": brokers.binary(),
            "/opt/kafka/bin/kafka-topics.sh": STAND_INS / "kafka_topics.py",
        },
    )
    _build(
        engine,
        "controller",
        PYTHON.format(base=base),
        {
            f"{PLACE}/controller.py": STAND_INS / "controller.py",
            f"{PLACE}/whisk_controllers.py": controllers,
            "/init.sh": f"#!/bin/sh\nexec python3 {PLACE}/controller.py\n",
        },
    )
    node, libraries = _node()
    (loader,) = (name for name in libraries if name.startswith("ld-"))
    command = f'["{PLACE}/{loader}", "--library-path", "{PLACE}", "{PLACE}/node", "{PLACE}/couchdb.js"]'
    _build(
        engine,
        "couchdb",
        PYTHON.format(base=base) + f"CMD {command}\n",
        {
            **{f"{PLACE}/{name}": path for name, path in libraries.items()},
            f"{PLACE}/node": node,
            f"{PLACE}/couchdb.js": STAND_INS / "couchdb.js",
            f"{PLACE}/node_modules": npm_packages.folder_of("pouchdb-server").parent,
            "/usr/local/bin/curl": STAND_INS / "curl.py",
        },
    )
    return IMAGES


def _node() -> tuple[Path, Mapping[str, Path]]:
    """This machine's node, and the libraries that it is loaded with: the image's may be older."""
    node = Path(shutil.which("node") or "node").resolve()
    told = subprocess.run(["ldd", str(node)], capture_output=True, text=True, check=True).stdout
    paths = [Path(path) for path in LIBRARY.findall(told)]
    return node, {path.name: path for path in paths}


def _build(engine: Engine, service: str, dockerfile: str, files: Mapping[str, Path | str]) -> None:
    """Files, folders and texts go to their places, executable."""
    with tempfile.TemporaryFile() as context:
        with tarfile.open(fileobj=context, mode="w") as archive:
            _add_text(archive, "Dockerfile", dockerfile)
            _add_text(archive, ".dockerignore", "Dockerfile\n.dockerignore\n")
            for place, what in files.items():
                name = place.removeprefix("/")
                if isinstance(what, str):
                    _add_text(archive, name, what)
                else:
                    archive.add(what.resolve(), name, filter=_anybodys)
        context.seek(0)
        engine.client.images.build(fileobj=context, custom_context=True, tag=IMAGES[service], rm=True)


def _add_text(archive: tarfile.TarFile, name: str, text: str) -> None:
    content = text.encode()
    member = tarfile.TarInfo(name)
    member.size = len(content)
    archive.addfile(_anybodys(member), io.BytesIO(content))


def _anybodys(member: tarfile.TarInfo) -> tarfile.TarInfo:
    """Root's, to be run by everybody, and not of today: whatever the checkout has, the same layer comes of it."""
    member.mode, member.mtime = 0o755, 0
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    return member
