"""How endpoints are named."""

from __future__ import annotations

from lb.model.endpoint import EndpointKey


def test_endpoint_key_is_written_as_people_write_it() -> None:
    assert str(EndpointKey("web", "10.0.0.1:80")) == "web/10.0.0.1:80"
