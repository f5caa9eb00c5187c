"""Files that hold state: written whole with a digest, read back verified.

JSON carries the digest of its own content under the key `digest`. Other files (tables, arrays) have
theirs written into such a JSON by whoever writes them (`file_digest`), and are compared with it
before they are believed (`check_file`). A digest tells damage and changes by hand; it is no
signature.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from input_pipeline.errors import UserError
from input_pipeline.files import read_text, write_json

KEY = "digest"
_BYTES = 16


def file_digest(path: Path) -> str:
    """Hex digest of a file's bytes (BLAKE2b, 128 bits); the file is not held in memory."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=_BYTES)).hexdigest()


def json_digest(value: Any) -> str:
    """Hex digest of a value that JSON can hold; the order of keys and white space do not matter."""
    text = json.dumps(value, sort_keys=True, allow_nan=False, separators=(",", ":"))
    return hashlib.blake2b(text.encode(), digest_size=_BYTES).hexdigest()


def write_verified_json(path: Path, value: Mapping[str, Any]) -> None:
    """Writes `value` with its digest, whole or not at all; `KEY` must not be a key of it."""
    if KEY in value:
        raise ValueError(f"the key {KEY!r} is that of the digest")
    # As it will be read back: tuples are lists then, and keys are strings.
    plain = json.loads(json.dumps(value, allow_nan=False))
    write_json(path, plain | {KEY: json_digest(plain)})


def read_verified_json(
    path: Path, *, what: str, mend: str, by_hand: bool = False
) -> dict[str, Any]:
    """Reads what `write_verified_json` wrote, without the digest.

    Args:
        what: begins the message of an error, such as "teacher cache".
        mend: ends it: what the user can do, such as "delete it and compute it again (…)".
        by_hand: a file without a digest is taken, too: one that a user may have written.

    Raises:
        UserError: the file is not there, is no such JSON, or is not what was written.
    """
    text = read_text(path, f"{what} {path}")
    try:
        value = json.loads(text)
        found = value.pop(KEY, None)
        whole = (by_hand and found is None) or found == json_digest(value)
    except (ValueError, AttributeError, TypeError, RecursionError):
        raise UserError(f"{what} {path}: not a JSON object; {mend}") from None
    if not whole:
        state = "has no digest" if found is None else "is damaged or was changed"
        raise UserError(f"{what} {path}: {state} (its digest differs); {mend}")
    return value


def check_file(path: Path, digest: str | None, *, what: str, mend: str) -> None:
    """Compares a file with the digest that was noted when it was written.

    Args:
        digest: of `file_digest`; None where none was noted, which counts as different.

    Raises:
        UserError: the file is not there or is not what was written; the line begins with `what` and
            ends with `mend`.
    """
    try:
        found = file_digest(path)
    except OSError as error:
        raise UserError(f"{what} {path}: cannot be read ({error.strerror}); {mend}") from None
    if found != digest:
        raise UserError(f"{what} {path}: is damaged or was changed (its digest differs); {mend}")
