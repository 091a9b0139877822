"""The release, which packages name as their producer."""

VERSION = "0.1.0"
