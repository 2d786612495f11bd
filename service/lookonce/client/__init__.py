"""The Python client: `Client("http://…:8080").detect("street.jpg")`. It imports nothing of the server."""

from lookonce.client.client import Client
from lookonce.client.results import Box, ClientError, Detection, Detections, Refused, Unreachable

__all__ = ["Box", "Client", "ClientError", "Detection", "Detections", "Refused", "Unreachable"]
