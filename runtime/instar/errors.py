"""Every error that Instar's runtime raises on purpose, in one tree.

    InstarError
    ├── PackError           a model cannot become a package (the author's to mend)
    ├── PackageError        a package is damaged, forged or of another version
    │   ├── GraphError      its graph breaks the written grammar
    │   └── DigestError     its bytes are not the bytes that were packed
    ├── SourceError         weights cannot be read from where they lie
    │   ├── MissingError    … since nothing is there
    │   ├── TransientError  … just now; another try may do better
    │   └── ReadOnlyError   … into this store, since it may only be read
    ├── InputError          a model was called with something that does not fit its signature
    ├── ExecutionError      an operator failed while the model ran
    ├── TransformationError a live model did not become another one, and is never run again
    │   └── BusyError       … since calls use it: it is what it was
    ├── ArchiveError        an action's code cannot be unpacked
    ├── ProtocolError       a frame between two of our processes is malformed
    ├── ProcessError        a process of the container has gone
    └── PlanError           a plan cannot be read, or does not lead from its source to its target

A message names the object, the value, the limit and the way out.
"""

from __future__ import annotations


class InstarError(Exception):
    """The base of the tree; catch this to catch whatever Instar refuses on purpose."""


class PackError(InstarError):
    """A module cannot be packed: says where in the user's code, and what to change."""


class PackageError(InstarError):
    """A model package cannot be used: damaged, forged, or of another format version."""


class GraphError(PackageError):
    """A graph breaks the grammar of `instar.graph.spec`."""


class DigestError(PackageError):
    """Bytes do not have the digest that the package states."""


class SourceError(InstarError):
    """Weights cannot be read from the place that the package names."""


class MissingError(SourceError):
    """There is nothing at the place that the package names."""


class TransientError(SourceError):
    """Weights cannot be read just now: worth another try, `retry_after_s` from now if the source says when."""

    def __init__(self, message: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class ReadOnlyError(SourceError):
    """A store lacks weights and may not be written, so somebody else has to fetch them."""


class InputError(InstarError):
    """The inputs of a call do not fit the model's signature."""


class ExecutionError(InstarError):
    """An operator failed while a validated program ran."""


class TransformationError(InstarError):
    """A live model did not become another one; it is neither, and never run again."""


class BusyError(TransformationError):
    """A live model did not become another one, since calls use it; it is what it was."""


class ArchiveError(InstarError):
    """An action's code cannot be unpacked."""


class ProtocolError(InstarError):
    """A frame between proxy, zygote, executor and worker is malformed."""


class ProcessError(InstarError):
    """A process of the container has gone, so what was asked of it cannot be had."""


class PlanError(InstarError):
    """A plan to transform one model into another cannot be read, made or carried out."""
