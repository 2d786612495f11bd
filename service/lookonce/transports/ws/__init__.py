"""Streams over WebSocket."""
