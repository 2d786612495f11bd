"""Writes the gRPC code anew from service/lookonce/transports/proto: `.venv/bin/python tools/proto.py [FOLDER]`."""

import sys
from importlib.resources import files
from pathlib import Path
from typing import Final

from grpc_tools import protoc

PROTO: Final = Path(__file__).parents[1] / "service" / "lookonce" / "transports" / "proto"
SOURCE: Final = "lookonce/v1/detection.proto"
IMPORT: Final = "from lookonce.v1 import "


def write_code(folder: Path) -> tuple[Path, ...]:
    """The generated files below `folder`. They find each other wherever that lies."""
    includes = f"-I{PROTO}", f"-I{files('grpc_tools') / '_proto'}"
    outputs = (f"--{kind}_out={folder}" for kind in ("python", "pyi", "grpc_python"))
    if protoc.main(["protoc", *includes, *outputs, SOURCE]) != 0:
        raise SystemExit(f"{SOURCE} could not be compiled; the lines above say where it is wrong.")
    service = folder / "lookonce" / "v1" / "detection_pb2_grpc.py"
    service.write_text(service.read_text().replace(IMPORT, "from . import "))
    return tuple(sorted(service.parent.glob("detection_pb2*.py*")))


if __name__ == "__main__":
    print(*write_code(Path(sys.argv[1]) if sys.argv[1:] else PROTO), sep="\n")
