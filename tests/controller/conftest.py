"""Puts this folder on the path: `container_processes` serves the tests of several of its folders."""
