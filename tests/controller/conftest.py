"""Puts this folder on the path: `container_processes` and `docker_rig` serve the tests of several of its folders."""
