import socket

import pytest

from lookonce.errors import LocalTritonFailed
from lookonce.local.ports import Ports, refuse_taken


def test_free_ports_are_fine(free_ports: object) -> None:
    refuse_taken(free_ports())


@pytest.mark.parametrize("address", ["127.0.0.1", "0.0.0.0"])
def test_a_taken_port_is_named_with_the_option_that_moves_it(free_ports: object, address: str) -> None:
    ports = free_ports()
    with socket.socket() as taken:
        taken.bind((address, 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(LocalTritonFailed, match=f"port {port} is taken by another program.*--triton-grpc-port"):
            refuse_taken(Ports(ports.http, port, ports.metrics))


def test_one_port_for_two_doors_is_refused(free_ports: object) -> None:
    port = free_ports().http
    with pytest.raises(LocalTritonFailed, match=f"--triton-http-port and --triton-metrics-port both say {port}"):
        refuse_taken(Ports(port, free_ports().grpc, port))


@pytest.mark.parametrize("port", [-1, 65_536, 10**12])
def test_a_port_that_cannot_be_is_refused(free_ports: object, port: int) -> None:
    with pytest.raises(
        LocalTritonFailed, match=f"port {port} does not exist; choose another one with --triton-http-port"
    ):
        refuse_taken(Ports(port, free_ports().grpc, free_ports().metrics))
