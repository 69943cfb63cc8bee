"""The routes of the admin server, and their description in OpenAPI, made of the same table."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from lb import __version__
from lb.model.endpoint import WEIGHT_MAX

Json = dict[str, Any]

TEXT, JSON, EVENTS, YAML = "text/plain", "application/json", "text/event-stream", "application/yaml"
METRICS = "text/plain; version=0.0.4; charset=utf-8"


class Route(NamedTuple):
    """`operation` names the handler: Admin's method `_<operation>`. `refusals`: status and what it means."""

    method: str
    path: str
    operation: str
    summary: str
    answer: str = JSON
    refusals: tuple[tuple[int, str], ...] = ()
    body: Json | None = None


NO_POOL = (404, "No such pool.")
NO_ENDPOINT = (404, "No such pool or endpoint.")
REFUSED = (409, "The order cannot be carried out; the body says why.")
WEIGHT = {
    "type": "object",
    "required": ["weight"],
    "additionalProperties": False,
    "properties": {"weight": {"type": "integer", "minimum": 0, "maximum": WEIGHT_MAX}},
}
ENDPOINT = "/api/v1/pools/{pool}/endpoints/{endpoint}"

ROUTES = (
    Route("GET", "/", "index", "These routes.", TEXT),
    Route("GET", "/live", "live", "200 while the event loop turns.", TEXT),
    Route(
        "GET",
        "/ready",
        "ready",
        "200 while every listener accepts; else the reason.",
        TEXT,
        ((503, "Starting or draining."),),
    ),
    Route("GET", "/metrics", "metrics", "Metrics for Prometheus.", METRICS),
    Route("GET", "/api/v1/status", "status", "Everything below in one answer."),
    Route("GET", "/api/v1/listeners", "listeners", "Where clients come in."),
    Route("GET", "/api/v1/pools", "pools", "Pools and their endpoints."),
    Route("GET", "/api/v1/pools/{pool}", "pool", "One pool and its endpoints.", JSON, (NO_POOL,)),
    Route("GET", "/api/v1/workers", "workers", "The worker processes."),
    Route("GET", "/api/v1/config", "config", "The configuration that is in force, as it was written.", YAML),
    Route(
        "GET",
        "/api/v1/events",
        "events",
        "The latest events, then each as it comes; ?follow=false ends after the latest.",
        EVENTS,
        ((503, "Too many readers."),),
    ),
    Route("GET", "/api/v1/openapi.json", "openapi", "This description."),
    Route(
        "POST",
        "/api/v1/reload",
        "reload",
        "Load the configuration file again.",
        JSON,
        ((422, "Refused; the configuration before it stays. The body lists every error."),),
    ),
    Route("POST", f"{ENDPOINT}/drain", "drain", "No new sessions.", JSON, (NO_ENDPOINT, REFUSED)),
    Route("POST", f"{ENDPOINT}/ready", "undo", "Take drain or maint back.", JSON, (NO_ENDPOINT, REFUSED)),
    Route("POST", f"{ENDPOINT}/maint", "maint", "No new sessions, no probes.", JSON, (NO_ENDPOINT, REFUSED)),
    Route(
        "POST",
        f"{ENDPOINT}/weight",
        "weight",
        "Another share of the new sessions; 0: none.",
        JSON,
        ((400, "The body is not a weight."), NO_ENDPOINT, REFUSED),
        WEIGHT,
    ),
)


def describe() -> Json:
    paths: dict[str, Json] = {}
    for route in ROUTES:
        paths.setdefault(route.path, {})[route.method.lower()] = operation(route)
    return {
        "openapi": "3.1.0",
        "info": {"title": "lb", "version": __version__},
        "paths": paths,
        "components": {"schemas": {"Error": error_schema()}},
    }


def operation(route: Route) -> Json:
    answers = {"200": {"description": "OK", "content": {route.answer: {}}}}
    for status, meaning in route.refusals:
        shown = (
            {TEXT: {}} if route.answer == TEXT else {JSON: {"schema": {"$ref": "#/components/schemas/Error"}}}
        )
        answers[str(status)] = {"description": meaning, "content": shown}
    described: Json = {"operationId": route.operation, "summary": route.summary, "responses": answers}
    if names := re.findall(r"\{(\w+)\}", route.path):
        described["parameters"] = [
            {"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in names
        ]
    if route.body is not None:
        described["requestBody"] = {"required": True, "content": {JSON: {"schema": route.body}}}
    return described


def error_schema() -> Json:
    properties = {"error": {"type": "string"}, "suggestion": {"type": ["string", "null"]}}
    return {"type": "object", "required": ["error", "suggestion"], "properties": properties}
