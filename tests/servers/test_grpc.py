"""A gRPC server with the standard health service, by grpcio."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent import futures

import grpc
import pytest
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from lb.model.address import Address
from lb.model.check import GrpcHealth, ProbeResult, TlsRule
from tests.support.certificates import Certificates
from tests.support.ports import free_port
from tests.support.probing import probed

NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
SERVING = health_pb2.HealthCheckResponse.SERVING


class Served:
    def __init__(self, certificates: Certificates) -> None:
        self.health = health.HealthServicer()
        self.health.set("", SERVING)
        self.server = grpc.server(futures.ThreadPoolExecutor(2))
        health_pb2_grpc.add_HealthServicer_to_server(self.health, self.server)
        issued = certificates.authority.issue_cert("127.0.0.1")
        pairs = [(issued.private_key_pem.bytes(), issued.cert_chain_pems[0].bytes())]
        plain, secured = free_port(), free_port()
        self.server.add_insecure_port(f"127.0.0.1:{plain}")
        self.server.add_secure_port(f"127.0.0.1:{secured}", grpc.ssl_server_credentials(pairs))
        self.plain, self.secured = Address("127.0.0.1", plain), Address("127.0.0.1", secured)
        self.server.start()


@pytest.fixture
def served(certificates: Certificates) -> Iterator[Served]:
    made = Served(certificates)
    yield made
    made.server.stop(0).wait(10.0)


def test_service_that_serves_passes(served: Served, certificates: Certificates) -> None:
    served.health.set("shop.Orders", SERVING)
    assert probed(GrpcHealth(), served.plain) == ProbeResult(True, "SERVING")
    assert probed(GrpcHealth("shop.Orders"), served.plain).ok
    rule = TlsRule(alpn=("h2",), verify=str(certificates.trusted))
    result = probed(GrpcHealth("shop.Orders"), served.secured, tls=rule)
    assert result.ok
    assert result.certificate is not None


def test_service_that_does_not_serve_fails(served: Served) -> None:
    served.health.set("shop.Orders", NOT_SERVING)
    assert probed(GrpcHealth("shop.Orders"), served.plain) == ProbeResult(False, "answered NOT_SERVING")
    result = probed(GrpcHealth("shop.Gone"), served.plain)
    assert result == ProbeResult(False, "answered NOT_FOUND")


def test_server_that_leaves_fails(served: Served) -> None:
    served.health.enter_graceful_shutdown()
    assert probed(GrpcHealth(), served.plain) == ProbeResult(False, "answered NOT_SERVING")
    served.server.stop(0).wait(10.0)
    assert probed(GrpcHealth(), served.plain) == ProbeResult(False, "connect: refused")


def test_plain_words_to_a_server_of_tls_fail(served: Served) -> None:
    assert not probed(GrpcHealth(), served.secured).ok
