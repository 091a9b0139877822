"""From an action's directory to its function: check, import, look up. The first step that runs user code.

The rule: what is wrong with the code itself (`NotBuilt`) is told apart from what happens while it is imported;
OpenWhisk has a text for each.
"""

from __future__ import annotations

import importlib.util
import os
import runpy
import sys
import traceback
from collections.abc import Callable
from importlib.machinery import SourceFileLoader
from pathlib import Path
from typing import Any

from instar.action import archive, requirements
from instar.errors import ArchiveError

MODULE = "main__"  # what the stock runtime calls it
LAUNCHER = "exec__.py"  # and its own script, which stands in sys.argv

Function = Callable[[Any], Any]


class NotBuilt(Exception):
    """The code cannot be imported at all; the text says where and why."""


def find(directory: Path, source: Path, main: str) -> Function:
    """The function `main` of the module `source`. Raises `NotBuilt`, or whatever the user's code raises."""
    os.chdir(directory)
    sys.argv = [LAUNCHER]
    _check(directory, source)
    script = archive.activation_script(directory)
    if script is not None:
        runpy.run_path(str(script), run_name="activate_this")
    sys.path.insert(0, str(directory))
    # By hand, for the file is not named after the module.
    spec = importlib.util.spec_from_loader(MODULE, SourceFileLoader(MODULE, str(source)), is_package=False)
    assert spec is not None and spec.loader is not None  # a loader was given
    module = importlib.util.module_from_spec(spec)
    sys.modules[MODULE] = module
    spec.loader.exec_module(module)
    try:
        function = getattr(module, main)
    except AttributeError:
        raise ImportError(f"cannot import name {main!r} from {MODULE!r} ({source})") from None
    if not callable(function):
        raise ImportError(f"{main!r} in {MODULE!r} ({source}) is not a function but a {type(function).__name__}")
    return function  # type: ignore[no-any-return]


def _check(directory: Path, source: Path) -> None:
    try:
        # Compiled here and not in the proxy: a hostile source can exhaust the compiler, too.
        compile(source.read_bytes(), str(source), "exec", dont_inherit=True)
        requirements.check(directory)
    except ArchiveError as error:
        raise NotBuilt(str(error)) from error
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise NotBuilt("".join(traceback.format_exception_only(error)).rstrip()) from error
