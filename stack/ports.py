"""Is a port free? A clear error that names the setting where it is not."""

from __future__ import annotations

import socket
from collections.abc import Iterable

from stack.services import Service
from stack.settings import LOOPBACK, PORT_SETTINGS, S3_GRPC_OFFSET, Settings


class PortTaken(RuntimeError):
    """Another program listens on a port that a service of ours wants."""


def port_is_free(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As servers do: a port in TIME_WAIT counts as free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


def check_ports(settings: Settings, services: Iterable[Service]) -> None:
    """Raises PortTaken naming every taken port and the setting that moves it."""
    taken = []
    for service in services:
        for listener in service.listeners:
            port, setting = settings.ports[listener], PORT_SETTINGS[listener][0]
            also = [port + S3_GRPC_OFFSET] if listener.startswith("s3") else []
            for number in [port, *also]:
                if number < 65_536 and not port_is_free(number):
                    taken.append(f"port {number} for {service.name} is taken; set {setting} to another one")
    if taken:
        raise PortTaken("\n".join(taken))
