"""Every error that the controller side raises on purpose, in one tree.

    ControllerError
    ├── RequestError            the caller's to mend; the HTTP edge gives each leaf its status
    │   ├── MalformedError          cannot be parsed, or has the wrong shape           400
    │   ├── RefusedError            well-formed, but breaks a rule                     400
    │   ├── UnauthenticatedError    no key, or a wrong one                             401
    │   ├── ForbiddenError          a good key that may not do this                    403
    │   ├── NotFoundError           what is asked for is not there                     404
    │   ├── UnroutableError         no such route                                      404
    │   ├── MethodError             the route exists, not with this method             405
    │   ├── UnacceptableError       the client accepts no form that we can give        406
    │   ├── ConflictError           it exists already, or was changed meanwhile        409
    │   ├── TooLargeError           bigger than its limit                              413
    │   ├── MediaTypeError          a body of another type than JSON                   415
    │   ├── ThrottledError          too many invocations for this namespace            429
    │   └── NotOfferedError         OpenWhisk has it, Instar does not (yet)            501
    ├── OverloadedError         no capacity now; nothing was started                   503
    ├── StoreError              the store cannot be opened, read or written            500
    ├── BusError                the message bus does not answer, or did not take a message
    │   ├── MessageTooLargeError    it never will: the message is bigger than the topic's limit
    │   └── NameTakenError          another program has our name there; it may be free later
    ├── SettingsError           a setting or a manifest makes no sense; raised at start-up
    ├── ContainerError          a container cannot be started, or has gone
    │   ├── ImageError              the image that the user named cannot be had, or does not run
    │   └── UnansweredError         the maker of containers gave no answer: what was asked may be done, or will
    └── IllegalTransitionError  a container did what its table does not allow: our own mistake

A message names the object, the value, the limit and the way out, except where clients compare OpenWhisk's
own text.
"""

from __future__ import annotations

OVERLOADED = "The server is currently unavailable (because it is overloaded or down for maintenance)."


class ControllerError(Exception):
    """The base of the tree; catch this to catch whatever the controller side refuses on purpose."""


class RequestError(ControllerError):
    """A request that its sender has to change."""


class MalformedError(RequestError):
    """Something cannot be parsed, or has the wrong shape."""

    @classmethod
    def content(cls, detail: str) -> MalformedError:
        """It was found in the body of a request."""
        return cls(f"The request content was malformed:\n{detail}")

    @classmethod
    def query(cls, name: str, detail: str) -> MalformedError:
        """It was found in the query parameter `name`."""
        return cls(f"The query parameter '{name}' was malformed:\n{detail}")


class RefusedError(RequestError):
    """A well-formed request that breaks a rule."""


class UnauthenticatedError(RequestError):
    """No key came with the request, or one that nobody holds."""


class ForbiddenError(RequestError):
    """The key is good, but not for this."""


class NotFoundError(RequestError):
    """What is asked for is not there."""

    def __init__(self, message: str = "The requested resource does not exist.") -> None:
        super().__init__(message)


class UnroutableError(RequestError):
    """No route has this path, or not with this method."""

    def __init__(self, message: str = "The requested resource could not be found.") -> None:
        super().__init__(message)


class MethodError(RequestError):
    """A service route that exists, but not with this method."""


class UnacceptableError(RequestError):
    """The client's `Accept` leaves no form that we can answer in."""


class ConflictError(RequestError):
    """A document exists already, or was changed by another request meanwhile."""


class TooLargeError(RequestError):
    """A part of a request is bigger than its limit."""


class MediaTypeError(RequestError):
    """The body is of a type that the route does not take."""


class ThrottledError(RequestError):
    """The namespace has used up its rate or its concurrency."""


class NotOfferedError(RequestError):
    """OpenWhisk offers this, Instar does not. `what` begins the sentence, in the plural."""

    def __init__(self, what: str) -> None:
        super().__init__(f"{what} are not offered by `instar serve`; see docs/differences.md.")


class OverloadedError(ControllerError):
    """There is no capacity for an invocation now. Nothing was started, nothing is owed."""

    def __init__(self, message: str = OVERLOADED) -> None:
        super().__init__(message)


class StoreError(ControllerError):
    """The store cannot be opened, read or written: says which file, why, and what to do."""


class BusError(ControllerError):
    """The message bus does not answer, or has not taken a message within its limit."""


class MessageTooLargeError(BusError):
    """The bus will never take this message: it is bigger than its topic allows."""


class NameTakenError(BusError):
    """On the bus another program has the name that this one is to have, or had it a moment ago."""


class SettingsError(ControllerError):
    """A setting or a runtimes manifest that makes no sense."""


class ContainerError(ControllerError):
    """A container cannot be started, or has gone."""


class ImageError(ContainerError):
    """The image that a user named cannot be had, or does not run: says so in the words that the user gets to see."""


class UnansweredError(ContainerError):
    """What makes containers gave no answer: it may have done what it was asked, or do it yet."""


class IllegalTransitionError(ControllerError):
    """A container was asked for what its table does not allow: our own mistake, never a user's."""
