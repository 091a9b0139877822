"""What an invoker tells a controller about an activation: its result, that its slot is free, or both.

One rule: `transid` goes back as it came, and `instance` is the invoker that the activation was sent to, since the
controller frees the slot of whoever is named here. Which message is due when is decided in `engines/acknowledging`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from instar_controller.errors import MalformedError
from instar_controller.whisk import activation, fields, instances, transid, wire_activation
from instar_controller.whisk.activation import ActivationId
from instar_controller.whisk.fields import Fields
from instar_controller.whisk.instances import InvokerInstance
from instar_controller.whisk.transid import TransactionId
from instar_controller.whisk.values import Json, JsonObject
from instar_controller.whisk.wire_activation import WireActivation

# An activation, or only the id of one: then the controller looks for the record in the database.
Result: TypeAlias = WireActivation | ActivationId

_WHAT = "an acknowledgement"


@dataclass(frozen=True, slots=True)
class ResultMessage:
    """The result; the slot stays taken until a completion follows."""

    transid: TransactionId
    response: Result

    @property
    def activation_id(self) -> ActivationId:
        return _id(self.response)

    def to_json(self) -> JsonObject:
        return {"transid": self.transid.to_json(), "response": _result_json(self.response)}

    def encode(self) -> bytes:
        return fields.encode(self.to_json())


@dataclass(frozen=True, slots=True)
class CompletionMessage:
    """The slot is free. `is_system_error` counts against the invoker: only for what is the platform's fault."""

    transid: TransactionId
    activation_id: ActivationId
    is_system_error: bool
    instance: InvokerInstance

    def to_json(self) -> JsonObject:
        return {
            "transid": self.transid.to_json(),
            "activationId": self.activation_id,
            "isSystemError": self.is_system_error,
            "instance": self.instance.to_json(),
        }

    def encode(self) -> bytes:
        return fields.encode(self.to_json())


@dataclass(frozen=True, slots=True)
class CombinedMessage:
    """The result, and the slot is free."""

    transid: TransactionId
    response: Result
    is_system_error: bool
    instance: InvokerInstance

    @property
    def activation_id(self) -> ActivationId:
        return _id(self.response)

    def to_json(self) -> JsonObject:
        return {
            "transid": self.transid.to_json(),
            "response": _result_json(self.response),
            "isSystemError": self.is_system_error,
            "instance": self.instance.to_json(),
        }

    def encode(self) -> bytes:
        return fields.encode(self.to_json())


Ack: TypeAlias = ResultMessage | CompletionMessage | CombinedMessage


def shrunk(ack: Ack) -> Ack:
    """The same with the activation's id alone: for who does not wait, and for what is too large for a message."""
    match ack:
        case ResultMessage():
            return ResultMessage(ack.transid, ack.activation_id)
        case CombinedMessage():
            return CombinedMessage(ack.transid, ack.activation_id, ack.is_system_error, ack.instance)
        case CompletionMessage():
            return ack


def parse(message: bytes) -> Ack:
    """The acknowledgement in `message`, told apart as a controller does: by the fields `instance` and `response`.

    Raises `MalformedError`.
    """
    found = fields.decode(message, _WHAT)
    match "response" in found.all, "instance" in found.all:
        case True, True:
            return CombinedMessage(_transid(found), _response(found), _is_system_error(found), _instance(found))
        case True, False:
            return ResultMessage(_transid(found), _response(found))
        case False, True:
            id = activation.parse_id(found.text("activationId"))
            return CompletionMessage(_transid(found), id, _is_system_error(found), _instance(found))
        case _:
            raise MalformedError(f"{_WHAT} has neither 'response' nor 'instance'")


def _id(response: Result) -> ActivationId:
    return response.activation_id if isinstance(response, WireActivation) else response


def _result_json(response: Result) -> Json:
    return response.to_json() if isinstance(response, WireActivation) else response


def _transid(found: Fields) -> TransactionId:
    return transid.parse(found.value("transid"))


def _response(found: Fields) -> Result:
    value = found.value("response")
    if isinstance(value, str):
        return activation.parse_id(value)
    return wire_activation.parse(value, f"{_WHAT}: 'response'")


def _is_system_error(found: Fields) -> bool:
    return found.truth("isSystemError") if found.has("isSystemError") else False


def _instance(found: Fields) -> InvokerInstance:
    return instances.parse_invoker(found.value("instance"), f"{_WHAT}: 'instance'")
