"""The code of an action as OpenWhisk keeps it: a text in the document, or an attachment named by a URI.

One rule: what is stored is raw, what `/init` takes is text; so the bytes of an archive become base64 here and
nowhere else. An attachment beside the document is only named here; who fetches it brings the bytes back.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from dataclasses import dataclass

from instar_controller.errors import MalformedError, StoreError
from instar_controller.whisk import fields
from instar_controller.whisk.values import Json

_IN_DOCUMENT = "mem"  # the name itself holds the bytes
_BESIDE_DOCUMENT = "couch"
_SHA256 = "sha256-"


@dataclass(frozen=True, slots=True)
class Text:
    """Code that the document holds as `/init` takes it."""

    code: str

    def to_json(self) -> Json:
        return self.code


@dataclass(frozen=True, slots=True)
class Attachment:
    """Code under a URI. `digest` and `length` (bytes) are there only for what is inside the document."""

    uri: str
    type: str
    digest: str | None = None
    length: int | None = None

    @property
    def inline(self) -> bytes | None:
        """The bytes, if the name itself holds them. Raises `MalformedError` if they are not what the digest says."""
        scheme, _, rest = self.uri.partition(":")
        if scheme != _IN_DOCUMENT or ":" not in self.uri:
            return None
        try:
            data = base64.b64decode(rest.translate(_URL_SAFE), validate=True)
        except (binascii.Error, ValueError) as error:
            raise MalformedError(f"the code of {len(rest)} characters in the document is not base64") from error
        self.check(data)
        return data

    @property
    def name(self) -> str:
        """What the attachment is called in the document that it belongs to.

        Raises `StoreError` if it is kept somewhere else.
        """
        scheme, colon, rest = self.uri.partition(":")
        if not colon:
            return self.uri  # as old documents have it
        if scheme != _BESIDE_DOCUMENT:
            raise StoreError(
                f"the code is kept under '{self.uri[:80]}', but only attachments in the document ('mem:') and "
                "beside it ('couch:') can be read; switch the attachment store off and update the action"
            )
        return rest

    def check(self, data: bytes) -> None:
        """Raises `MalformedError` if these are not the bytes that were stored."""
        if self.length is not None and len(data) != self.length:
            raise MalformedError(f"the stored code has {len(data)} bytes where {self.length} were stored")
        if self.digest is not None and self.digest.startswith(_SHA256):
            found = hashlib.sha256(data).hexdigest()
            if found != self.digest.removeprefix(_SHA256):
                raise MalformedError(f"the stored code has the digest {found}, not the stored {self.digest}")

    def to_json(self) -> Json:
        optional: dict[str, Json] = {"digest": self.digest, "length": self.length}
        return {
            "attachmentName": self.uri,
            "attachmentType": self.type,
            **{key: value for key, value in optional.items() if value is not None},
        }


StoredCode = Text | Attachment

_URL_SAFE = str.maketrans("-_", "+/")


def parse(value: Json, what: str) -> StoredCode:
    """The code that `value`, the field `code` of a document, is or names. Raises `MalformedError`."""
    if isinstance(value, str):
        return Text(value)
    found = fields.parse(value, what)
    uri = found.text("attachmentName")
    if uri in ("", f"{_BESIDE_DOCUMENT}:"):
        raise MalformedError(f"{what}: 'attachmentName' names nothing: '{uri}'")
    return Attachment(
        uri, found.text("attachmentType"), found.optional_text("digest"), found.optional_number("length")
    )


def for_init(data: bytes, *, binary: bool) -> str:
    """Stored bytes as `/init` takes them. Raises `MalformedError` if they should be a text and are none."""
    if binary:
        return base64.b64encode(data).decode()
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise MalformedError(f"the stored code of {len(data)} bytes is not a text in UTF-8: {error}") from error
