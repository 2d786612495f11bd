"""YOLO object detection as a cloud service."""
