"""When a sweep's own claims were stated: `stated_claims.json`, by the hash of each claim. What stands there stays."""

from collections.abc import Iterable
from datetime import datetime, timezone
from typing import Any

from tfsgd.plan.claim import Claim
from tfsgd.records.atomic import from_json, to_json, write_atomically
from tfsgd.records.folder import LogFolder
from tfsgd.records.preflight import is_there, read_text

FILE = "stated_claims.json"


def state_claims(logs: LogFolder, claims: Iterable[Claim]) -> None:
    """Notes the time and the number of records that exist, for each claim that is new."""
    known = stated_claims(logs)
    new = [claim.sha256 for claim in claims if claim.sha256 not in known]
    if new:
        now = datetime.now(timezone.utc).isoformat(timespec="seconds")
        entry = {"stated": now, "records": sum(1 for _ in logs.records())}
        write_atomically(logs.path / FILE, to_json(known | dict.fromkeys(new, entry)))


def stated_claims(logs: LogFolder) -> dict[str, dict[str, Any]]:
    """The SHA-256 of each claim -> `stated`, a time, and `records`, how many there were; what cannot be read is empty."""
    if not is_there(logs.path / FILE):
        return {}
    try:
        found = from_json(read_text(logs.path / FILE))
        return {key: {"stated": str(e["stated"]), "records": int(e["records"])} for key, e in found.items()}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return {}


def said_of(claim: Claim, known: dict[str, dict[str, Any]]) -> str:
    """Whether a claim was stated before the data, in words."""
    entry = known.get(claim.sha256)
    if entry is None:
        return "stated after the data"
    count = entry["records"]
    before = "before the first record" if count == 0 else f"when there were {count} records"
    return f"stated {before}, {entry['stated']}"
