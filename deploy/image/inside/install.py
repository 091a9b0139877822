"""Install wheels into the image's environment, inside the build: `install.py ENVIRONMENT WHEELS...`.

The rule: the same wheels give the same files, byte for byte. So nothing is fetched, and compiled modules carry a hash
of their source instead of its time. What no function needs is removed here, in the step that would have added it, for
a later step could not make the image smaller.
"""

from __future__ import annotations

import compileall
import os
import py_compile
import shutil
import subprocess
import sys
from pathlib import Path

import symbols

HERE = Path(__file__).parent
PIP = "/wheels/pip"


def main(environment: Path, wheels: list[Path]) -> None:
    (pip,) = Path(PIP).glob("pip-*.whl")  # a wheel of pip runs as it is
    command = [environment / "bin" / "python", pip / "pip", "install", "--quiet", "--root-user-action=ignore"]
    command += ["--no-index", "--no-deps", "--no-compile", "--no-cache-dir", "--no-warn-script-location"]
    subprocess.run([*command, *wheels], check=True)
    (site,) = environment.glob("lib/python3*/site-packages")
    _trim(site)
    for library in sorted(site.rglob("*.so*")):
        symbols.drop(library)
    _compile(site)
    _settle(environment)


def _trim(site: Path) -> None:
    lines = (HERE / "trimmed.txt").read_text(encoding="utf-8").splitlines()
    for pattern in (line.strip() for line in lines):
        if pattern and not pattern.startswith("#"):
            for path in sorted(site.glob(pattern)):
                shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


def _compile(site: Path) -> None:
    # What cannot be compiled is for other versions of Python, and could not be imported here either.
    mode = py_compile.PycInvalidationMode.UNCHECKED_HASH
    compileall.compile_dir(site, quiet=2, workers=os.cpu_count() or 1, invalidation_mode=mode)


def _settle(environment: Path) -> None:
    """Give every file the same time: pip gives them the time of the build."""
    for folder, below, files in os.walk(environment):
        for name in (*below, *files, "."):
            os.utime(os.path.join(folder, name), (0, 0), follow_symlinks=False)


if __name__ == "__main__":
    main(Path(sys.argv[1]), [Path(wheel) for wheel in sys.argv[2:]])
