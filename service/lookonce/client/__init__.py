"""The Python client: `Client("http://…:8080").detect("street.jpg")`. It imports nothing of the server."""

from lookonce.client.client import Client
from lookonce.client.results import (
    BadCall,
    Box,
    ClientError,
    Detection,
    Detections,
    Misunderstood,
    Refused,
    Unreachable,
)

__all__ = [
    "BadCall",
    "Box",
    "Client",
    "ClientError",
    "Detection",
    "Detections",
    "Misunderstood",
    "Refused",
    "Unreachable",
]
