"""Who this node is to an HTTP server: what its netrc says of that host.

The rule: a name and password go to the very host they were written down for. An entry `default` is left alone, since
a package, which anybody may have written, names the host.
"""

from __future__ import annotations

import base64
import netrc
from collections.abc import Mapping
from pathlib import Path

from instar.errors import SourceError

VARIABLE = "NETRC"


def authorization(environ: Mapping[str, str], host: str) -> str | None:
    """The value of the header `Authorization` for a host; None if the node has no credentials for it.

    Reads the file that `NETRC` names, else `.netrc` in `HOME`. Raises `SourceError` for one that cannot be read.
    """
    explicit = environ.get(VARIABLE)
    home = environ.get("HOME")
    if not explicit and not home:
        return None
    file = Path(explicit) if explicit else Path(home or "") / ".netrc"
    try:
        entry = netrc.netrc(str(file)).hosts.get(host)
    except FileNotFoundError:
        if explicit:
            raise SourceError(f"{VARIABLE} names {file}, which does not exist") from None
        return None
    except OSError as error:
        if not explicit:  # another user's home: what it says is not for this process
            return None
        raise SourceError(f"{VARIABLE} names {file}, which cannot be read: {error.strerror}") from None
    except (netrc.NetrcParseError, UnicodeDecodeError):  # whose text may hold a password
        raise SourceError(
            f"{file} cannot be read as a netrc file; mend it, or set {VARIABLE} to another one"
        ) from None
    if entry is None or host == "default":
        return None
    user, _, password = entry
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode("ascii")
