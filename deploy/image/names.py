"""What the images are made of is called, and where in a checkout it lies."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
BUILD = ROOT / "build" / "image"  # ignored by git; whatever lies here can be made again

IMAGE = "instar/action-pytorch:2"
CONTROLLER_IMAGE = "instar/controller:0.1.0"
BASE = "python:3.11-slim-bookworm"
PYTHON = "3.11"  # what BASE holds

CONTENT_LABEL = "instar.content"  # holds `content.digest()` of what an image was built from
