"""Containers of a Docker engine, made as OpenWhisk's own factory makes them."""
