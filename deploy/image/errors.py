"""What can go wrong while an image is made.

ImageError
├── NoEngine       no Docker Engine answers, or no client can reach it
├── WheelError     the wheels cannot be had, or are not the wanted ones
├── BaseError      the base is neither on the engine, nor to be pulled, nor to be made here
└── BuildError     Docker refused to build
"""

from __future__ import annotations


class ImageError(Exception):
    """Its message says what failed and what to do."""


class NoEngine(ImageError):
    """No Docker Engine, or no client for it."""


class WheelError(ImageError):
    """A wheel is missing or is not what it should be."""


class BaseError(ImageError):
    """There is no base to build on."""


class BuildError(ImageError):
    """The build failed; Docker's last words are in the message."""
