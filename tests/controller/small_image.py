"""A small image of an action runtime, made of the Python that runs the tests: nothing is fetched; half a second.

It is for tests whose subject are containers that break, not what is in them; those of Instar's own image are in
`tests/image` and `engine/test_docker_containers.py`.
"""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
import tarfile
from collections.abc import Iterable
from pathlib import Path

import docker

NAME = "instar-test/small:1"
PROGRAM = "/runtime.py"
SOURCE = Path(__file__).with_name("small_runtime.py")
# What the runtime imports, and what it finds its own way by; and where what all of that was compiled to is kept.
LOOK = """
import sys
import encodings.idna, os, runpy
runpy.run_path(sys.argv[1])
print(os.__file__)
for module in list(sys.modules.values()):
    for path in (getattr(module, "__file__", None), getattr(module, "__cached__", None)):
        if path:
            print(path)
"""


def make(client: docker.DockerClient) -> str:
    """Make the image on this engine; its name."""
    python = Path(sys.base_prefix, "bin", f"python{sys.version_info.major}.{sys.version_info.minor}").resolve()
    look = [str(python), "-S", "-E", "-c", LOOK, str(SOURCE)]
    imported = subprocess.run(look, capture_output=True, text=True, check=True).stdout.splitlines()
    files = {path for path in map(Path, imported) if path.is_file()}
    files |= _libraries([python, *(path for path in files if path.suffix == ".so")])
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", dereference=True) as tar:
        for path in sorted({python, *files}):
            tar.add(path, str(path), recursive=False)
        tar.add(SOURCE, PROGRAM)
    repository, _, tag = NAME.partition(":")
    command = json.dumps([str(python), "-S", "-E", "-u", PROGRAM])
    client.api.import_image(packed.getvalue(), repository=repository, tag=tag, changes=[f"ENTRYPOINT {command}"])
    return NAME


def _libraries(programs: Iterable[Path]) -> set[Path]:
    """The shared libraries that these are linked with, the loader included."""
    said = subprocess.run(["ldd", *map(str, programs)], capture_output=True, text=True, check=False).stdout
    return {Path(found) for found in re.findall(r"(?:=> |^\s)(/\S+) \(0x", said, re.MULTILINE)}
