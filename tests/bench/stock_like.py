"""A plain action runtime to compare with: Flask, one process, torch imported at its start, everything in the open.

It speaks as much of `/init` and `/run` as a benchmark needs, and does what a straightforward author would do: `/init`
unpacks a zip and imports its main file, `/run` calls the function and ends both logs. No isolation, no limits, no
second process. Run by gunicorn in a container of the same image as the runtime that it is compared with.
"""

from __future__ import annotations

import base64
import importlib.util
import io
import os
import sys
import tempfile
import zipfile
from collections.abc import Callable
from typing import Any

import torch
from flask import Flask, Response, jsonify, request

SENTINEL = "XXX_THE_END_OF_A_WHISK_ACTIVATION_XXX"
app = Flask(__name__)
functions: list[Callable[[Any], Any]] = []
torch.set_num_threads(int(os.environ.get("THREADS", "1")))


@app.get("/ready")
def ready() -> Response:
    return jsonify({"ok": True})


@app.post("/init")
def init() -> Response:
    folder = tempfile.mkdtemp()
    with zipfile.ZipFile(io.BytesIO(base64.b64decode(request.get_json()["value"]["code"]))) as archive:
        archive.extractall(folder)
    os.chdir(folder)
    sys.path.insert(0, folder)
    spec = importlib.util.spec_from_file_location("main__", os.path.join(folder, "__main__.py"))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    functions.append(module.main)
    return jsonify({"ok": True})


@app.post("/run")
def run() -> Response:
    result = functions[-1](request.get_json()["value"])
    for stream in (sys.stdout, sys.stderr):
        print(SENTINEL, file=stream, flush=True)
    return jsonify(result)
