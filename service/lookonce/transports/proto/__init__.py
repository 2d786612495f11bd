"""The wire of gRPC: `tools/proto.py` writes the code from the description beside it."""
