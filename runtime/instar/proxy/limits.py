"""How large a request the proxy reads, and an answer it passes on."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class BodyLimits:
    init_bytes: int = 128 << 20  # 48 MB of code, the platform's limit, are 64 MB in base64
    run_bytes: int = 64 << 20  # the platform's limit is 1 MB, unless an operator raises it
