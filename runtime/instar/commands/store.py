"""Look after the node's store of weights: what is in it, make room, check it, keep a file for good.

  instar store ls                  every file, who uses it, and how full the store is
  instar store gc                  evict what nobody uses, longest unused first, until the store is within its size
  instar store gc --to 0           evict everything that nobody uses or has pinned
  instar store verify              read every file and hold it against its digests
  instar store pin 3f2a            never evict the file whose digest begins so

The size is INSTAR_STORE_MIB, or half of the file system that the store is on.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path

from instar.weights import keeping
from instar.weights.budget import Entry
from instar.weights.keeping import Finding
from instar.weights.store import Store, default_root

HELP = "list, clean or check the node's store of weights"


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the subcommands and their arguments."""
    commands = parser.add_subparsers(dest="what", metavar="WHAT", required=True)
    for name, act, help_ in (
        ("ls", _ls, "show what is in the store"),
        ("gc", _gc, "evict what nobody uses, and remove what crashes left over"),
        ("verify", _verify, "hold every file against its digests"),
        ("pin", _pin, "never evict a file"),
        ("unpin", _unpin, "let a file be evicted again"),
    ):
        command = commands.add_parser(name, help=help_)
        command.add_argument(
            "--store", metavar="DIR", type=Path, help="the store (default: $INSTAR_STORE or the cache)"
        )
        command.add_argument("--json", action="store_true", help="print one JSON object")
        command.set_defaults(act=act)
        if name == "gc":
            command.add_argument("--to", metavar="MIB", type=_mib, help="evict until so much is left")
        if name in ("pin", "unpin"):
            command.add_argument("digest", metavar="DIGEST", help="the beginning of the file's digest")


def run(arguments: argparse.Namespace) -> int:
    """Do what was asked; 1 if something is wrong with the store's files."""
    return int(arguments.act(Store(arguments.store or default_root(dict(os.environ))), arguments))


def _ls(store: Store, arguments: argparse.Namespace) -> int:
    there = sorted(keeping.entries(store), key=lambda entry: -entry.used_s)
    kept = sum(entry.nbytes for entry in there)
    limit = keeping.limit(store, kept, os.environ)
    if arguments.json:
        files = [_as_json(entry) for entry in there]
        print(json.dumps({"store": os.fspath(store.root), "bytes": kept, "limit": limit, "files": files}))
        return 0
    for entry in there:
        used = time.strftime("%Y-%m-%d %H:%M", time.localtime(entry.used_s))
        print(f"{entry.digest[:16]}  {_size(entry.nbytes):>10}  {entry.standing.value:<8}  {used}")
    print(f"{store.root}: {len(there)} files, {_size(kept)} of {_size(limit)}")
    return 0


def _gc(store: Store, arguments: argparse.Namespace) -> int:
    kept = sum(entry.nbytes for entry in keeping.entries(store))
    to = keeping.limit(store, kept, os.environ) if arguments.to is None else arguments.to
    gone = keeping.reduce(store, to)
    freed = sum(entry.nbytes for entry in gone)
    if arguments.json:
        print(json.dumps({"freed": freed, "bytes": kept - freed, "evicted": [entry.digest for entry in gone]}))
        return 0
    for entry in gone:
        print(f"evicted {entry.digest[:16]}  {_size(entry.nbytes):>10}")
    print(f"{store.root}: {_size(freed)} freed, {_size(kept - freed)} left")
    if kept - freed > to:
        print(f"more than {_size(to)} is left: the rest is pinned, in use or arriving (`instar store ls`)")
    return 0


def _verify(store: Store, arguments: argparse.Namespace) -> int:
    from tqdm import tqdm  # only a person who waits needs a bar

    total = sum(entry.nbytes for entry in keeping.entries(store))
    with tqdm(total=total, unit="B", unit_scale=True, desc="verifying", disable=arguments.json, leave=False) as bar:
        findings = list(keeping.verify(store, bar.update))
    wrong = [finding for finding in findings if not finding.is_right]
    if arguments.json:
        print(json.dumps({"files": len(findings), "wrong": [_finding_as_json(finding) for finding in wrong]}))
        return 1 if wrong else 0
    for finding in wrong:
        print(_words(finding))
    print(f"{store.root}: {len(findings)} files, {len(findings) - len(wrong)} of them right")
    return 1 if wrong else 0


def _pin(store: Store, arguments: argparse.Namespace) -> int:
    return _told(arguments, keeping.pin(store, arguments.digest), "pinned")


def _unpin(store: Store, arguments: argparse.Namespace) -> int:
    return _told(arguments, keeping.unpin(store, arguments.digest), "unpinned")


def _told(arguments: argparse.Namespace, digest: str, what: str) -> int:
    print(json.dumps({what: digest}) if arguments.json else f"{what} {digest[:16]}")
    return 0


def _as_json(entry: Entry) -> dict[str, object]:
    return {"digest": entry.digest, "bytes": entry.nbytes, "used": entry.used_s, "state": entry.standing.value}


def _finding_as_json(finding: Finding) -> dict[str, object]:
    moved = None if finding.moved_to is None else os.fspath(finding.moved_to)
    return {"digest": finding.digest, "chunks": finding.damaged, "trouble": finding.trouble, "moved_to": moved}


def _words(finding: Finding) -> str:
    chunks = ", ".join(map(str, finding.damaged[:8])) + (", …" if len(finding.damaged) > 8 else "")
    what = finding.trouble or f"chunks {chunks} are damaged"
    then = f"moved to {finding.moved_to}; " if finding.moved_to is not None else ""
    return f"{finding.digest[:16]}  {what}; {then}it is fetched again when it is next needed"


def _mib(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is no number of MiB")
    return int(text) * 2**20


def _size(nbytes: int) -> str:
    """As people read it: 14.2 MiB."""
    size = float(nbytes)
    for unit in ("B", "KiB", "MiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} GiB"
