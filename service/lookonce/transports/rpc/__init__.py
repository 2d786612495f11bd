"""Detection, health and reflection over gRPC."""
