"""Puts this folder on the path: its tests share what is in it."""
