"""A QR code of the voting page's address, and which address phones can use."""

from __future__ import annotations

import ipaddress
import socket
from urllib.parse import SplitResult, parse_qsl, urlencode, urlsplit, urlunsplit

from studio.errors import InputError

#: Longer addresses give a code too fine to read from the back of a hall.
MAX_LENGTH = 300


def qr_path(text: str) -> tuple[int, str]:
    """Width of the code with the quiet zone it needs, in modules, and the SVG path of its dark ones."""
    from qrcode.constants import ERROR_CORRECT_M
    from qrcode.main import QRCode

    code: QRCode = QRCode(error_correction=ERROR_CORRECT_M, border=4)
    code.add_data(text)
    code.make(fit=True)
    rows = code.get_matrix()
    return len(rows), "".join(f"M{x} {y}h1v1h-1z" for y, row in enumerate(rows) for x, dark in enumerate(row) if dark)


def checked_address(text: str | None) -> str:
    """The address as it goes into the code.

    Raises:
        InputError: it is no http(s) address, or too long.
    """
    address = (text or "").strip()
    parts = _split(address)
    if parts is None or any(c.isspace() or not c.isprintable() for c in address):
        raise InputError(f"The address is {address[:80]!r}; type a web address such as https://studio.example/rate.")
    if len(address) > MAX_LENGTH:
        raise InputError(
            f"The address has {len(address)} characters; at most {MAX_LENGTH} make a code phones can read."
        )
    return address


def of_room(address: str, room: str) -> str:
    """The voting page's address for a room."""
    if not room:
        return address
    parts = urlsplit(address)
    query = [(key, value) for key, value in parse_qsl(parts.query) if key != "room"]
    return urlunsplit(parts._replace(query=urlencode([*query, ("room", room)])))


def best_address(seen: str, share_url: str | None, host: str, lan: str | None = None) -> str:
    """The address of the voting page to offer phones, where the presenter's browser sees it at ``seen``.

    A name only this machine knows is replaced: by Gradio's public link where there is one (``share_url``), else, where the
    studio listens beyond this machine (``host``), by this machine's address in its network (``lan``; looked up if None).
    """
    if not only_here(seen):
        return seen
    if share_url:
        return f"{share_url.rstrip('/')}/rate"
    parts = _split(seen)
    if parts is None or only_here(f"http://{f'[{host}]' if ':' in host else host}/", any_is_local=False):
        return seen
    here = lan if lan is not None else lan_address()
    if not here:
        return seen
    return urlunsplit(parts._replace(netloc=f"{here}:{parts.port}" if parts.port else here))


def only_here(address: str, any_is_local: bool = True) -> bool:
    """Whether the address names this very machine, so that nobody else can use it. ``any_is_local``: so read 0.0.0.0, which
    means every network to a server and nothing to a phone."""
    parts = _split(address)
    host = (parts.hostname or "") if parts else ""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        ip = ipaddress.ip_address(host)
    except ValueError:
        return False
    return ip.is_loopback or (any_is_local and ip.is_unspecified)


def lan_address() -> str:
    """This machine's address in its network, empty where it has none. Asks the routing table; sends nothing."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            return ""
        address = str(probe.getsockname()[0])
    return "" if ipaddress.ip_address(address).is_loopback else address


def _split(address: str) -> SplitResult | None:
    try:
        parts = urlsplit(address)
        parts.port  # noqa: B018 - a port that is no number raises here
    except ValueError:
        return None
    return parts if parts.scheme in ("http", "https") and parts.hostname else None
