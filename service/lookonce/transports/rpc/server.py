"""The gRPC server: detection, health and reflection on one port."""

import socket
from dataclasses import dataclass, field
from typing import Final

import grpc
import grpc.aio

from lookonce.errors import GatewayFailed
from lookonce.pipeline.stages import Bounds
from lookonce.transports.rpc import detection as rpc_detection
from lookonce.transports.rpc.standard import HEALTH, REFLECTION, health_handlers, reflection_handlers
from lookonce.transports.service import Service

LARGEST_MESSAGE_BYTES: Final = 128 * 2**20
"""gRPC holds a message in memory before anybody can look at it; a lone picture may be as large as it may be."""

BESIDE_PICTURES_BYTES: Final = 64 * 1024
OPTIONS: Final[tuple[tuple[str, int], ...]] = (
    ("grpc.so_reuseport", 0),
    ("grpc.max_send_message_length", -1),
    ("grpc.max_metadata_size", 8 * 1024),
    ("grpc.absolute_max_metadata_size", 16 * 1024),
    ("grpc.max_concurrent_streams", 256),
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
)
"""We ask every 30 s whether a caller is still there; one that asks us more often than every 10 s is sent away."""


@dataclass(frozen=True, slots=True)
class Pem:
    """What TLS is served with, as its files hold it."""

    certificate: bytes
    key: bytes = field(repr=False)


def grpc_server(
    service: Service, *, host: str, port: int, tls: Pem | None = None, tells: bool = True
) -> tuple[grpc.aio.Server, int]:
    """A server that is bound and not yet started, and its port. Raises GatewayFailed."""
    limit = ("grpc.max_receive_message_length", largest_message_bytes(service.detector.bounds))
    server = grpc.aio.server(options=(*OPTIONS, limit))
    names = (rpc_detection.NAME,)
    reflecting = reflection_handlers(service, names, tells=tells)
    tables = {
        rpc_detection.NAME: rpc_detection.handlers(service, tells=tells),
        HEALTH: health_handlers(service, names),
        **dict.fromkeys(REFLECTION, reflecting),
    }
    server.add_generic_rpc_handlers(
        [grpc.method_handlers_generic_handler(name, handlers) for name, handlers in tables.items()]
    )
    return server, _bound(server, _address(host, port), tls)


def largest_message_bytes(bounds: Bounds) -> int:
    several = min(bounds.max_images * bounds.max_bytes, LARGEST_MESSAGE_BYTES)
    return max(several, bounds.max_bytes) + BESIDE_PICTURES_BYTES


def _address(host: str, port: int) -> str:
    """Of a name the first address, as it is for HTTP: gRPC itself would take all of them."""
    if ":" in host:
        return f"[{host}]:{port}"
    try:
        first = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][4][0]
    except OSError as error:
        raise GatewayFailed(
            f"gRPC cannot listen on {host} ({error.strerror}); correct LOOKONCE_SERVER__HOST."
        ) from error
    return f"[{first}]:{port}" if ":" in str(first) else f"{first}:{port}"


def _bound(server: grpc.aio.Server, address: str, tls: Pem | None) -> int:
    try:
        if tls is None:
            return server.add_insecure_port(address)
        return server.add_secure_port(address, grpc.ssl_server_credentials([(tls.key, tls.certificate)]))
    except RuntimeError as error:
        advice = "free that port, or choose another one with LOOKONCE_SERVER__GRPC_PORT"
        if tls is not None:
            advice += "; or give LOOKONCE_TLS__CERTIFICATE and LOOKONCE_TLS__KEY as PEM files that belong together"
        raise GatewayFailed(f"gRPC cannot listen on {address}; {advice}.") from error
