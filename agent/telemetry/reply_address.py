"""Where the answer to a command goes. Pure.

The sender of a command names the topic, so whoever may send one could make the device speak there
with its own rights: among the device's own topics only ``reply`` is taken, for anything else would
be read as a state, an alarm or a command.
"""

import json

from agent.telemetry.messages import TOPIC_ROOT
from agent.telemetry.wire import MAX_BYTES

LONGEST_TRANSACTION = 200
LONGEST_TOPIC = 1000


def reply_topic(asked: str | None, *, own: str) -> str | None:
    """The topic to answer on; None: the device's own ``reply``, through the outbox."""
    if (
        not asked
        or len(asked) > LONGEST_TOPIC
        or any(char in "+#" or not char.isprintable() for char in asked)
    ):
        return None
    if asked.startswith("$") or (asked.startswith(f"{TOPIC_ROOT}/") and asked != own):
        return None
    return asked


def transaction_problem(transaction: str | None) -> str | None:
    """Why a reply cannot repeat ``transaction``, or None."""
    if transaction is None or (len(transaction) <= LONGEST_TRANSACTION and transaction.isprintable()):
        return None
    return f"transaction: expected at most {LONGEST_TRANSACTION} printable characters"


def transaction_in(payload: bytes) -> str | None:
    """The transaction of a command that cannot be read otherwise, as far as it has one."""
    if len(payload) > MAX_BYTES:
        return None
    try:
        fields = json.loads(payload.decode())
    except (ValueError, RecursionError):
        return None
    body = fields.get("body") if isinstance(fields, dict) else None
    transaction = body.get("transaction") if isinstance(body, dict) else None
    if not isinstance(transaction, str) or transaction_problem(transaction):
        return None
    return transaction
