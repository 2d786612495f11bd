"""Detect objects over gRPC: python docs/examples/detect_grpc.py PICTURE… [--target HOST:PORT] [--key KEY]"""

import argparse
import sys
from pathlib import Path

import grpc

from lookonce.transports.proto.lookonce.v1.detection_pb2 import DetectRequest, Options
from lookonce.transports.proto.lookonce.v1.detection_pb2_grpc import DetectionStub


def main() -> None:
    parser = argparse.ArgumentParser(description="Detect objects in pictures, all in one gRPC call.")
    parser.add_argument("pictures", nargs="+", type=Path)
    parser.add_argument("--target", default="127.0.0.1:8081", help="the gateway's gRPC address")
    parser.add_argument("--key", default="", help="where the gateway asks for one")
    parser.add_argument("--confidence", type=float, help="the lowest score; the model's own where it is left out")
    given = parser.parse_args()

    metadata = [("authorization", f"Bearer {given.key}")] if given.key else []
    request = DetectRequest(
        images=[picture.read_bytes() for picture in given.pictures],
        options=Options(confidence=given.confidence),
    )
    with grpc.insecure_channel(given.target) as channel:
        try:
            answer = DetectionStub(channel).Detect(request, timeout=10, metadata=metadata)
        except grpc.RpcError as error:
            sys.exit(f"{error.code().name}: {error.details()}")

    for picture, result in zip(given.pictures, answer.results, strict=True):
        if result.HasField("error"):
            print(f"{picture}: {result.error.detail}")
        for found in result.detections:
            box = found.box
            print(f"{picture}: {found.label} {found.confidence:.2f} at {box.x1:g},{box.y1:g} to {box.x2:g},{box.y2:g}")


if __name__ == "__main__":
    main()
