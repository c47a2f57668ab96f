"""What is signed and drawn with the store's secret: rater tokens, proofs of serving, sides. Pure functions.

Nobody without the secret can vote as another, vote on a pair that was not served to them, or foretell a side.
"""

from __future__ import annotations

import hashlib
import hmac
import unicodedata
from typing import Literal

from studio.errors import InputError, NotAllowedError

#: Characters of a rater's name at most.
MAX_NAME = 60
#: Marks that turn the direction of the text around them, and so of everything a name is shown beside.
_BIDI = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def signature(secret: bytes, *parts: str) -> str:
    """What only the holder of the secret can compute of ``parts``: 32 hex digits."""
    # Lengths go in too: ("ab", "c") and ("a", "bc") are different things to sign.
    message = b"".join(b"%d:%b" % (len(raw), raw) for raw in (part.encode(errors="replace") for part in parts))
    return hmac.new(secret, message, hashlib.sha256).hexdigest()[:32]


def rater_token(secret: bytes, rater_id: str) -> str:
    """What a browser keeps to be this rater."""
    return f"{rater_id}.{signature(secret, 'rater', rater_id)}"


def rater_id_of(secret: bytes, token: str) -> str:
    """The rater whom a token names.

    Raises:
        NotAllowedError: the token was not made here.
    """
    rater_id, _, signed = token[:200].partition(".") if isinstance(token, str) else ("", "", "")
    if not _same(signed, signature(secret, "rater", rater_id)):
        raise NotAllowedError("This rater is not known here; register again.")
    return rater_id


def verified_id(secret: bytes, account: str, room: str) -> str:
    """The rater id of a Hugging Face account in a room: the same on every device, and nobody can tell the account by it."""
    return f"hf-{signature(secret, 'account', account, *([room] if room else []))[:24]}"


def left_answer(secret: bytes, rater_id: str, pair_id: str) -> Literal[1, 2]:
    """Which answer stands on the left for this rater: a coin thrown once for (pair, rater)."""
    return 1 if int(signature(secret, "side", rater_id, pair_id), 16) & 1 else 2


def turn_number(secret: bytes, rater_id: str, after: str, below: int) -> int:
    """A number from 0 to ``below`` - 1 for the turn of a rater after the pair ``after``, different from rater to rater."""
    return int(signature(secret, "turn", rater_id, after), 16) % below


def serving_token(secret: bytes, rater_id: str, pair_id: str, left: int) -> str:
    """The proof that this pair was served to this rater with this answer on the left."""
    return signature(secret, "served", rater_id, pair_id, str(left))


def check_serving(secret: bytes, rater_id: str, pair_id: str, left: int, token: str) -> None:
    """Check a proof of serving.

    Raises:
        NotAllowedError: it was not made here for this rater and pair.
    """
    if not _same(token, serving_token(secret, rater_id, pair_id, left)):
        raise NotAllowedError("This pair was not served to you, so a vote on it does not count; reload the page.")


def clean_name(name: object) -> str:
    """A rater's name: white space collapsed, control and direction marks left out.

    Raises:
        InputError: nothing visible is left, it is too long, or it is not valid Unicode.
    """
    if not isinstance(name, str):
        raise InputError(f"name is {type(name).__name__}; it must be text.")
    kept = "".join(c for c in " ".join(name[:10_000].split()) if c not in _BIDI and unicodedata.category(c) != "Cc")
    kept = " ".join(kept.split())
    if any(unicodedata.category(c) == "Cs" for c in kept):
        raise InputError("name holds half a character (a lone surrogate); it is not valid Unicode.")
    if all(unicodedata.category(c)[0] in "CZM" for c in kept):
        raise InputError("name is empty; any name will do, for example Anna or Table 3.")
    if len(kept) > MAX_NAME:
        raise InputError(f"name is {len(kept):,} characters long; at most {MAX_NAME} are accepted.")
    return kept


def _same(given: object, expected: str) -> bool:
    return isinstance(given, str) and hmac.compare_digest(given.encode(errors="replace"), expected.encode())
