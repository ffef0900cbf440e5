"""Remove user, password and tokens from URLs before they are printed."""

import re

# Fragments of a query field's name; cameras use loginpas, usr or access_token, among others.
SECRET_PARTS = "pas|pwd|token|key|sig|auth|use|usr|login|secret"
PLAIN_SCHEMES = frozenset({"http", "https", "file"})  # a path may hold an @
_SECRET_QUERY = re.compile(rf"(?i)(?<=[?&])([^=&]*(?:{SECRET_PARTS})[^=&]*)=[^&]*")
# `Path` leaves one slash of a URL's two. A scheme of one letter would be a Windows drive.
_SCHEME = re.compile(r"^\s*([a-z][a-z0-9+.-]+):/{1,2}(.*)$", re.IGNORECASE | re.DOTALL)


def scheme_of(spec: str) -> str | None:
    """Return `rtsp` of `rtsp://...`; None if this is not a URL."""
    match = _SCHEME.match(spec)
    return match[1].lower() if match else None


def printable(url: str) -> str:
    """Remove user, password and the values of secret query fields."""
    match = _SCHEME.match(url)
    if not match:
        return url
    scheme, rest = match[1].lower(), match[2].rstrip()
    credentials = _credentials(rest, is_plain=scheme in PLAIN_SCHEMES)
    if credentials:
        rest = rest[len(credentials) + 1 :]
    return f"{scheme}://" + _SECRET_QUERY.sub(r"\1=...", rest)


def _credentials(rest: str, *, is_plain: bool) -> str:
    """Find `user:password` after `scheme://`, even if the password holds a slash."""
    authority = re.split("[/?#]", rest, maxsplit=1)[0]
    if "@" in authority and is_plain:
        return authority.rpartition("@")[0]
    port = authority.rpartition(":")[2] if ":" in authority and "]" not in authority else "0"
    is_host = is_plain and port.isdecimal()
    return rest.rpartition("@")[0] if "@" in rest and not is_host else ""
