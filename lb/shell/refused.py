"""Answers that say no: a status, what is wrong, and what to do instead; always the same JSON."""

from __future__ import annotations

from collections.abc import Iterable

from aiohttp import web

from lb.config.problem import did_you_mean
from lb.shell.openapi import ROUTES

BODY_BYTES_MAX = 4096
NAMES_SHOWN_MAX = 10


class Refused(Exception):
    """Raised by a handler, and answered."""

    def __init__(self, status: int, error: str, suggestion: str | None = None) -> None:
        super().__init__(error)
        self.status, self.error, self.suggestion = status, error, suggestion

    def response(self) -> web.Response:
        return web.json_response({"error": self.error, "suggestion": self.suggestion}, status=self.status)


def http_error(path: str, error: web.HTTPException) -> web.Response:
    """What aiohttp refuses by itself, in our form."""
    suggestion = None
    if isinstance(error, web.HTTPNotFound):
        suggestion = did_you_mean(path, {route.path for route in ROUTES}) or "GET / lists the routes"
    elif isinstance(error, web.HTTPMethodNotAllowed):
        suggestion = f"use {' or '.join(sorted(error.allowed_methods - {'HEAD'}))}"
    elif isinstance(error, web.HTTPRequestEntityTooLarge):
        suggestion = f"send at most {BODY_BYTES_MAX} bytes"
    response = Refused(error.status, error.reason.lower(), suggestion).response()
    if "Allow" in error.headers:
        response.headers["Allow"] = error.headers["Allow"]
    return response


def instead(name: str, known: Iterable[str]) -> str:
    """What may have been meant by a name that is not among those known."""
    names = list(known)
    if meant := did_you_mean(name, names):
        return meant
    more = ", ..." if len(names) > NAMES_SHOWN_MAX else ""
    return f"there are: {', '.join(names[:NAMES_SHOWN_MAX])}{more}" if names else "there are none"
