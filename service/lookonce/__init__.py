"""YOLO object detection as a cloud service."""

import os

# ONNX Runtime reports to its maker from the moment it is imported, so this must be said before anything imports it.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
