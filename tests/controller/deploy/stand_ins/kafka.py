"""Stands in for Kafka in a container of compose.yaml: the tests' broker (`tansu`) behind the tests' relay.

Listens where Kafka would, and tells clients the address that KAFKA_ADVERTISED_LISTENERS has. All is in memory: what a
Kafka keeps in its volume is not tried here.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading

from kafka_relay import KafkaRelay

PORT, BEHIND = 9092, 19092


def main() -> int:
    """Serve until SIGTERM; 1 if the broker ends by itself."""
    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ended.set())
    advertised = os.environ["KAFKA_ADVERTISED_LISTENERS"].removeprefix("PLAINTEXT://")
    command = ["/stand-in/tansu", "broker", "--storage-engine", "memory://tansu/"]
    command += ["--listener-url", f"tcp://127.0.0.1:{BEHIND}", "--advertised-listener-url", f"tcp://{advertised}"]
    broker = subprocess.Popen(command)
    threading.Thread(target=lambda: (broker.wait(), ended.set()), daemon=True).start()
    relay = KafkaRelay(("127.0.0.1", BEHIND), socket.create_server(("", PORT)))
    ended.wait()
    relay.close()
    is_asked = broker.poll() is None
    broker.kill()
    broker.wait()
    return 0 if is_asked else 1


if __name__ == "__main__":
    sys.exit(main())
