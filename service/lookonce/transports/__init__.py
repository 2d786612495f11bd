"""Thin skins over one detector: REST, WebSocket and gRPC."""
