"""Remove from this interpreter's site-packages what `trimmed.txt` lists, and compile the rest."""

from __future__ import annotations

import compileall
import py_compile
import shutil
import sysconfig
from pathlib import Path


def main() -> None:
    site = Path(sysconfig.get_path("purelib"))
    lines = Path(__file__).with_name("trimmed.txt").read_text(encoding="utf-8").splitlines()
    for pattern in (line.strip() for line in lines):
        if pattern and not pattern.startswith("#"):
            for path in sorted(site.glob(pattern)):
                shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    # Its failures are files for other Pythons, which cannot be imported here either.
    compileall.compile_dir(
        site, quiet=2, workers=0, invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH
    )


if __name__ == "__main__":
    main()
