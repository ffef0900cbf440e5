"""A URL in, what may be printed of it out: no user, no password, no token."""

import re

SECRET_FIELDS = "user|username|usr|login|pwd|pass|passwd|password|token|auth|key|apikey|api_key|sig"
_SECRET_QUERY = re.compile(rf"(?i)(?<=[?&])({SECRET_FIELDS})=[^&#]*")
_SCHEME = re.compile(r"^([a-z][a-z0-9+.-]*)://(.*)$", re.IGNORECASE | re.DOTALL)


def scheme_of(spec: str) -> str | None:
    """Tell `rtsp` of `rtsp://...`; None where this is no URL."""
    match = _SCHEME.match(spec)
    return match[1].lower() if match else None


def printable(url: str) -> str:
    """Remove user and password, and the values of secret query fields."""
    match = _SCHEME.match(url)
    if not match:
        return url
    credentials = _credentials(match[2])
    rest = match[2][len(credentials) + 1 :] if credentials else match[2]
    return f"{match[1].lower()}://" + _SECRET_QUERY.sub(r"\1=...", rest)


def _credentials(rest: str) -> str:
    """Find `user:password` in what follows `scheme://`, even where the password holds a slash."""
    authority = re.split("[/?#]", rest, maxsplit=1)[0]
    if "@" in authority:
        return authority.rpartition("@")[0]
    port = authority.rpartition(":")[2] if ":" in authority and "]" not in authority else "0"
    return rest.rpartition("@")[0] if "@" in rest and not port.isdecimal() else ""
