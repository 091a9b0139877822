#!/usr/bin/env python3
"""Stands in for `curl --fail --silent URL`, by which compose.yaml asks CouchDB how it is."""

import sys
import urllib.request

try:
    with urllib.request.urlopen(sys.argv[-1], timeout=4) as answer:
        sys.stdout.buffer.write(answer.read())
except OSError as error:
    sys.exit(str(error))
