"""Replies of the worker, read from its pipe; what is not one is ignored."""

import json
from numbers import Real
from typing import Any

from pydantic import ValidationError

from napari_graphflow.system.failures import Failure

Reply = dict[str, Any]
FINAL = frozenset({"result", "error", "cancelled"})


def parse_reply(line: str) -> Reply | None:
    """Return the reply on a line; None if it is none, such as a message of a library.

    An error that cannot be read still ends its request, with a `Failure` that says so.
    """
    try:
        reply = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(reply, dict) or type(reply.get("id")) is not int:
        return None
    event = reply.get("event")
    if event == "error":
        return error_reply(reply["id"], _failure(reply.get("failure")))
    if event == "progress":
        return reply if _is_progress(reply) else None
    return reply if event in ("result", "cancelled") else None


def error_reply(number: int, failure: Failure) -> Reply:
    """Return the final reply of a request that failed."""
    return {"id": number, "event": "error", "failure": failure}


def _failure(value: Any) -> Failure:
    try:
        return Failure.model_validate(value)
    except ValidationError:
        text = "The segmentation process sent an error that cannot be read."
        return Failure(code="unexpected", text=text, remedy="Try again.")


def _is_progress(reply: Reply) -> bool:
    eta = reply.get("eta_s")
    counts = (reply.get("done"), reply.get("total"))
    return (
        isinstance(reply.get("phase"), str)
        and all(type(count) is int and 0 <= count < 1 << 31 for count in counts)
        and (eta is None or isinstance(eta, Real))
    )
