"""Whether the process of this container is alive, for Docker's health check: exit code 0 if it says so itself."""

from __future__ import annotations

import http.client
import os
import sys

ANSWER_S = 4.0  # less than Docker waits for this check
PORT = 8080  # as PORT, unless that is set


def main() -> int:
    """0 if `GET /livez` is answered with 200."""
    connection = http.client.HTTPConnection("127.0.0.1", int(os.environ.get("PORT", PORT)), timeout=ANSWER_S)
    try:
        connection.request("GET", "/livez")
        return 0 if connection.getresponse().status == 200 else 1
    except OSError as error:
        print(f"/livez: {error}", file=sys.stderr)
        return 1
    finally:
        connection.close()


if __name__ == "__main__":
    sys.exit(main())
