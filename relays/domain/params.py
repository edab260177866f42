"""What a request asks for, as one name: the host and the console hold their records together by it.

relayctl carries this module: standard library only, Python 3.9.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any


def params_sha(*, verb: str, args: dict[str, Any], op_id: str | None) -> str:
    """Return the SHA-256 of what a write request asks for; its fence and its deadline are no part of it."""
    return sha256_of({"verb": verb, "args": args, "op_id": op_id})


def sha256_of(value: Any) -> str:
    """Return the SHA-256, in hexadecimal, of a JSON value written in one way only."""
    canonical = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(canonical.encode("ascii")).hexdigest()
