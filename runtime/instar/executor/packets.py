"""One packet, and the file descriptors that came with it.

Like `socket.recv_fds`, with the two things that one leaves out: a program that user code executes inherits none
of the descriptors, and a packet that was cut short is an error.
"""

from __future__ import annotations

import array
import os
import socket

from instar.errors import ProtocolError

_INT = array.array("i").itemsize


def receive(connection: socket.socket, size: int) -> tuple[bytes, int | None]:
    """The packet, empty at the end, and its descriptor if it has one, which the caller owns.

    Raises `ProtocolError` for a packet of more than `size` bytes, and `OSError` as sockets do.
    """
    data, descriptors = receive_several(connection, size, most=1)
    return data, descriptors[0] if descriptors else None


def receive_several(connection: socket.socket, size: int, *, most: int) -> tuple[bytes, list[int]]:
    """Like `receive`, with up to `most` descriptors; what came beyond them is closed."""
    data, ancillary, flags, _ = connection.recvmsg(size, socket.CMSG_SPACE(most * _INT), socket.MSG_CMSG_CLOEXEC)
    descriptors = array.array("i")
    for level, kind, content in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            descriptors.frombytes(content[: len(content) // _INT * _INT])
    if flags & socket.MSG_TRUNC:
        for descriptor in descriptors:
            os.close(descriptor)
        raise ProtocolError(f"a packet of more than {size} bytes")
    # The kernel may round the room for descriptors up, and so let one more in.
    for extra in descriptors[most:]:
        os.close(extra)
    return data, list(descriptors[:most])
