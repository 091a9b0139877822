"""What hostile code tries from inside a handler, and what must come of it; against any container.

A program runs in the handler and leaves its answer in `value`; `tried(f)` says how the kernel refused a call.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

import instar
from tests.runtime.containers import ANSWER_S, Runtime, zipped, zipped_folder
from tests.runtime.modules import Pair, Wide

HANDLER = """
import ctypes, errno, json, os, signal, socket, struct, subprocess, sys, threading, time
import torch
import instar

libc = ctypes.CDLL(None, use_errno=True)

def others():
    'The pids of the container\\'s other processes.'
    found = {}
    for entry in os.listdir('/proc'):
        if entry.isdigit() and int(entry) != os.getpid():
            try:
                name = open(f'/proc/{entry}/comm').read().strip()
            except OSError:
                continue
            if name.startswith('instar-') and mine(int(entry)):
                found[name.removeprefix('instar-')] = int(entry)
    assert found.keys() >= {'runtime', 'proxy', 'zygote', 'executor'}, found
    return found

def mine(pid):
    'Whether a process is of this container: they are all in one group.'
    return os.getpgid(pid) == os.getpgid(0)

def tried(body):
    try:
        return ['done', repr(body())]
    except Exception as error:
        return [type(error).__name__, str(error)]

def call(function, *arguments):
    'A function of libc that returns -1 where it fails.'
    result = getattr(libc, function)(*arguments)
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result

def double(n):
    return instar.model('pair')(torch.tensor([n]), torch.tensor([True]))[0].tolist()

def session():
    from instar.executor import client
    return client._connection._session

def main(args):
    space = dict(globals())
    try:
        exec(args['do'], space)
        return {'value': space['value']}
    except Exception as error:
        return {'error': [type(error).__name__, str(error)]}
"""

REFUSED = {"PermissionError", "ProcessLookupError"}


def archive(folder: Path) -> bytes:
    """The handler with two small models."""
    ids = {"ids": torch.arange(4), "mask": torch.ones(4, dtype=torch.bool)}
    instar.pack(Pair(), ids, folder / "pair", dims={"ids": {0: "n"}, "mask": {0: "n"}}, bounds={"n": (1, 10**6)})
    instar.pack(Wide(), {"x": torch.zeros(3, 1)}, folder / "wide", dims={"x": {0: "n"}}, bounds={"n": (1, 10**8)})
    return zipped_folder(folder, "models", {"__main__.py": HANDLER})


PLAIN = zipped({"__main__.py": HANDLER})


def do(container: Runtime, program: str, *, timeout_s: float = ANSWER_S) -> Any:
    """What the program left in `value`, or the type and text of what it raised."""
    answer = container.run({"do": program}, timeout_s=timeout_s)
    assert answer.status == 200, answer
    return answer.json.get("value", answer.json.get("error"))


def dies(container: Runtime, program: str, *, timeout_s: float = ANSWER_S) -> None:
    """The program costs the function its life, and its caller an error; nobody waits for ever."""
    answer = container.run({"do": program}, timeout_s=timeout_s)
    assert (answer.status, answer.json) == (400, {"error": "command exited"}), answer
    assert container.run({"do": "value = 1"}).status == 500
    assert container.processes().keys() == {"master", "proxy", "zygote", "executor"}


def is_well(container: Runtime) -> bool:
    """The function and its models answer as before."""
    return bool(do(container, "value = double(21)") == [42])
