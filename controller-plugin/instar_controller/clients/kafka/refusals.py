"""Why a broker and we do not come together, where that is for people to mend: certificates and logins.

One rule: the library repeats itself at each attempt, many times a second; a reason is told once an outage.
"""

from __future__ import annotations

from enum import Enum

from confluent_kafka import KafkaError


class Refusal(Enum):
    """A reason, with what to look at."""

    UNKNOWN = (
        "the broker's certificate cannot be verified: nobody in the truststore vouches for it, or (with "
        "sslEndpointIdentificationAlgorithm https) it is of another host"
    )
    ANONYMOUS = "the broker wants a certificate of ours; name a keystore (sslKeystoreLocation) that has one"
    UNWANTED = "the broker does not accept our certificate (sslKeystoreLocation)"
    LOGIN = "the broker does not let us log in (saslMechanism, saslJaasConfig)"
    OTHER = "TLS fails"


_SAYINGS = (
    ("certificate verify failed", Refusal.UNKNOWN),
    ("alert certificate required", Refusal.ANONYMOUS),
    ("alert handshake failure", Refusal.ANONYMOUS),  # as TLS 1.2 says it
    ("alert unknown ca", Refusal.UNWANTED),
    ("alert bad certificate", Refusal.UNWANTED),
    ("alert certificate expired", Refusal.UNWANTED),
)


def of(error: KafkaError) -> Refusal | None:
    """What an error of a connection means; None if it is no matter of certificates or logins."""
    said = error.str()
    if error.code() == KafkaError._AUTHENTICATION:
        return Refusal.LOGIN
    if error.code() != KafkaError._SSL and "SSL routines" not in said:
        return None
    return next((refusal for saying, refusal in _SAYINGS if saying in said), Refusal.OTHER)
