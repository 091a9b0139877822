"""Who owns a state directory: a text that is drawn once and kept in it, so that all its lives are known as one.

One rule: whoever has the same text has the same directory, which is one process's at a time (`clients/spool`). Where
it cannot be kept another one is drawn for each life.
"""

from __future__ import annotations

import logging
import re
import secrets
from pathlib import Path

from instar import whole_files

logger = logging.getLogger(__name__)

FILE = "owner"
_TEXT = re.compile(r"[0-9a-f]{32}")


def of(folder: Path) -> str:
    """The owner of this directory, which is made if it is not there."""
    path = folder / FILE
    try:
        kept = path.read_text(errors="replace")
        if _TEXT.fullmatch(kept):
            return kept
        logger.warning("%s does not say whose the directory is; it is written anew", path)
    except FileNotFoundError:
        pass
    except OSError as error:
        logger.warning("%s cannot be read: %s", path, error)
    drawn = secrets.token_hex(16)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        whole_files.write(path, drawn.encode())
    except OSError as error:
        logger.warning("%s cannot be written, so the next start is taken for somebody else: %s", path, error)
    return drawn
