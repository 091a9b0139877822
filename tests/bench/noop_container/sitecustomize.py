"""The lightest container that is one: a process of its own that speaks the protocol and runs no function.

`bench_invoker` puts this folder on the path of an invoker whose containers are processes. Python imports a module of
this name before anything else; where it was started as a container (`-m instar.proxy.serve`) it becomes this one and
does not go on; where it is anything else, nothing happens.

It answers `/init`, and `/run` with the nanoseconds from the connection to the answer, after it has written the end of
its log on both streams. It ends when its lifeline does, as every container.
"""

import sys


def _option(name: str) -> int:
    return int(sys.orig_argv[sys.orig_argv.index(name) + 1])


def _serve() -> None:
    import select
    import socket
    from os import _exit, write
    from time import monotonic_ns

    sentinel = b"XXX_THE_END_OF_A_WHISK_ACTIVATION_XXX\n"
    listener, lifeline = socket.socket(fileno=_option("--fd")), _option("--lifeline")
    poll = select.poll()
    poll.register(listener, select.POLLIN)
    poll.register(lifeline, select.POLLIN)
    while True:
        for descriptor, _ in poll.poll():
            if descriptor == lifeline:
                _exit(0)
        connection, _ = listener.accept()
        began_ns = monotonic_ns()
        request = b""
        while not _is_whole(request):
            piece = connection.recv(1 << 16)
            if not piece:
                break
            request += piece
        is_run = request.startswith(b"POST /run")
        if is_run:
            write(1, sentinel)
            write(2, sentinel)
        body = b'{"ns":%d}' % (monotonic_ns() - began_ns) if is_run else b'{"ok":true}'
        head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body)
        connection.sendall(head + body)
        connection.close()


def _is_whole(request: bytes) -> bool:
    head, found, body = request.partition(b"\r\n\r\n")
    if not found:
        return False
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return len(body) >= int(value)
    return True


if "instar.proxy.serve" in sys.orig_argv:
    _serve()
