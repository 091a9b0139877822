"""Show what a model package holds: signature, size, operators, digests. Reads no weights, needs no torch."""

from __future__ import annotations

import argparse
import json
from collections import Counter
from pathlib import Path
from typing import Any

from instar.errors import PackageError
from instar.graph import codec
from instar.package import MODEL_FILE, Package, decode, read
from instar.weights.manifest import WEIGHTS_FILE

HELP = "show what a model package holds"


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("directory", metavar="DIR", type=Path, help="a model package")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(arguments: argparse.Namespace) -> int:
    """Print the summary. The package's digests are recomputed on the way."""
    package = decode(read(arguments.directory))
    summary = summarise(package)
    summary["weights_here"] = _weights_here(arguments.directory, package)
    if arguments.json:
        print(json.dumps(summary))
        return 0
    print(f"signature   {package.signature}")
    print(f"structure   {package.structure_digest}")
    print(f"model       {package.digest}")
    print(f"packed by   {package.producer}")
    print(
        f"weights     {package.weights.size} bytes in {len(package.weights.chunks)} chunks, {summary['weights_here']}"
    )
    print(f"tensors     {len(package.tensors)}, {summary['parameters']} elements")
    print(f"operators   {len(package.graph.nodes)}")
    for name, count in summary["operators"].items():
        print(f"  {count:6}  {name}")
    return 0


def summarise(package: Package) -> dict[str, Any]:
    """What a package holds, as JSON values."""
    operators = Counter(node.op for node in package.graph.nodes)
    ports = {"inputs": package.signature.inputs, "outputs": package.signature.outputs}
    return {
        **{what: {p.name: codec.encode_type(p.type) for p in found} for what, found in ports.items()},
        "dims": {name: [b.min, b.max] for name, b in package.signature.dims},
        "result": package.signature.result,
        "structure": package.structure_digest,
        "model": package.digest,
        "producer": package.producer,
        "weights_bytes": package.weights.size,
        "weights_uri": package.weights.uri,
        "tensors": len(package.tensors),
        "parameters": sum(_elements(t.shape) for t in package.tensors),
        "operators": dict(operators.most_common()),
    }


def _elements(shape: tuple[int, ...]) -> int:
    product = 1
    for size in shape:
        product *= size
    return product


def _weights_here(directory: Path, package: Package) -> str:
    path = directory / WEIGHTS_FILE
    if not path.exists():
        if package.weights.uri is None:
            raise PackageError(
                f"{directory} has a {MODEL_FILE} but no {WEIGHTS_FILE}, and names no other place for it"
            )
        return f"at {package.weights.uri}"
    size = path.stat().st_size
    return "beside it" if size == package.weights.size else f"beside it but damaged: the file has {size} bytes"
