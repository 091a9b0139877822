"""The one digest that names content: BLAKE3, 256 bits.

Weights are digested on their way into the node's store, where a processor's time is what limits a fast link: SHA-256
with the processor's own instructions takes five times as long.

Source: J. O'Connor, J.-P. Aumasson, S. Neves, Z. Wilcox-O'Hearn, "BLAKE3: one function, fast everywhere", 2020.
"""

from __future__ import annotations

from blake3 import blake3

NBYTES = 32

new = blake3


def digest(data: bytes | bytearray | memoryview) -> bytes:
    """The digest of `data`, 32 bytes. Other threads go on meanwhile."""
    return blake3(data).digest()


def hexdigest(data: bytes | bytearray | memoryview) -> str:
    """The digest of `data` as it is written in a package: 64 hexadecimal digits."""
    return blake3(data).hexdigest()
