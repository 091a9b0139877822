"""Whether the process of this container is alive, for Docker's health check: exit code 0 if it says so itself.

It asks where the environment says that the process answers, so a container is told by its environment, not by flags.
"""

from __future__ import annotations

import http.client
import os
import sys

ANSWER_S = 4.0  # less than Docker waits for this check
ANY_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "::1"}


def main() -> int:
    """0 if `GET /livez` is answered with 200."""
    host = os.environ.get("INSTAR_HOST") or "127.0.0.1"
    port = int(os.environ.get("PORT") or 8080)
    connection = http.client.HTTPConnection(ANY_ADDRESS.get(host, host), port, timeout=ANSWER_S)
    try:
        connection.request("GET", "/livez")
        answer = connection.getresponse()
        print(answer.status, answer.read(1000).decode(errors="replace"))
        return 0 if answer.status == 200 else 1
    except OSError as error:
        print(f"/livez: {error}", file=sys.stderr)
        return 1
    finally:
        connection.close()


if __name__ == "__main__":
    sys.exit(main())
