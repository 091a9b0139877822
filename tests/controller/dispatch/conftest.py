"""Puts this folder on the path: `worlds` serves several files of tests."""
