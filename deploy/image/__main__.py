"""`python -m deploy.image`: make an image on the running Docker Engine. One line says what came out."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
from dataclasses import asdict

from deploy.image import engine, make, recipes
from deploy.image.engine import BUILDERS
from deploy.image.errors import ImageError
from deploy.image.make import Made


def main() -> None:
    """Exits with 1 and one line on standard error where the image cannot be made."""
    options = _parser().parse_args()
    builders = (options.builder,) if options.builder else BUILDERS
    try:
        with contextlib.closing((found := engine.connect(os.environ)).client):
            made = make.image(found, _say, recipe=recipes.ALL[options.which], tag=options.tag, builders=builders)
    except ImageError as error:
        sys.exit(f"make image: {error}")
    print(json.dumps(asdict(made)) if options.json else _line(made))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m deploy.image", description="Make an image of Instar's.")
    parser.add_argument("which", nargs="?", choices=recipes.ALL, default="action", help="which one (default action)")
    parser.add_argument("--builder", choices=BUILDERS, help="which builder (default: BuildKit where a client has it)")
    parser.add_argument("--tag", help="the image's name (default: its usual one)")
    parser.add_argument("--json", action="store_true", help="the result as one JSON object")
    return parser


def _line(made: Made) -> str:
    how = f"built with {made.builder}" if made.builder else "already there"
    parts = ", ".join(f"{layer.part} {layer.mib:.1f}" for layer in made.layers)
    return f"{made.image} {made.id}: {made.mib:.0f} MiB ({parts}), {made.base} base, {how} in {made.seconds:.1f} s"


def _say(what: str) -> None:
    if sys.stderr.isatty():
        print(f"make image: {what} …", file=sys.stderr)


if __name__ == "__main__":
    main()
