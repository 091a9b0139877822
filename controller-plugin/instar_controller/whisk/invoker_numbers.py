"""How OpenWhisk's invokers keep their numbers in ZooKeeper: where, and in which bytes.

    /invokers/idAssignment/counter         how many numbers were given: a `SharedCount` of Apache Curator's
    /invokers/idAssignment/mapping/NAME    the number of the invoker of this name, for ever

One rule: stock invokers read what we write, and we what they do. The form is that of their `InstanceIdAssigner`.
"""

from __future__ import annotations

COUNTER = "/invokers/idAssignment/counter"
MAPPING = "/invokers/idAssignment/mapping"
MOST = (1 << 31) - 1  # numbers are Java's `int`

_COUNT_BYTES = 4


def node_of(name: str) -> str:
    """Where the number of this invoker is. Raises `ValueError` for a name that ZooKeeper has no place for."""
    if not name or name in (".", "..") or "/" in name:
        raise ValueError("an invoker's name in ZooKeeper must not be empty, '.' or '..', nor have a '/' in it")
    return f"{MAPPING}/{name}"


def encode(number: int) -> bytes:
    """A number as Scala's `BigInt` writes it: two's complement, big-endian, in as few bytes as it takes."""
    return number.to_bytes(number.bit_length() // 8 + 1, "big", signed=True)


def decode(data: bytes) -> int:
    """The number in these bytes. Raises `ValueError`: they have none that an invoker can have."""
    number = int.from_bytes(data, "big", signed=True)
    if not data or not 0 <= number <= MOST:
        raise ValueError(f"0x{data[:16].hex()} is no number from 0 to {MOST}, as big-endian two's complement")
    return number


def encode_count(count: int) -> bytes:
    """A count as Curator's `SharedCount` writes it."""
    return count.to_bytes(_COUNT_BYTES, "big", signed=True)


def decode_count(data: bytes) -> int:
    """The count in these bytes. Raises `ValueError`."""
    count = int.from_bytes(data, "big", signed=True)
    if len(data) != _COUNT_BYTES or count < 0:
        raise ValueError(f"0x{data[:16].hex()} is no count of invokers, in {_COUNT_BYTES} bytes")
    return count
