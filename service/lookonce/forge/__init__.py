"""Offline work on models: from somebody's ONNX to a version that Triton serves."""
