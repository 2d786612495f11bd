"""The description of the wire, and what must agree with it."""

import importlib.util
import re
from itertools import pairwise
from pathlib import Path
from types import ModuleType

import pytest
from google.protobuf.descriptor import FieldDescriptor

from lookonce.pipeline.request import Timings
from lookonce.transports.http.schemas import Box, Detection, Model, ModelUsed, One, Size, Thresholds, Version
from lookonce.transports.options import OPTIONS, Classes, Flag, Number, Whole
from lookonce.transports.proto.lookonce.v1 import detection_pb2 as wire
from lookonce.transports.rpc.detection import NAME

ROOT = Path(__file__).parents[2]
KINDS = {
    Number: FieldDescriptor.TYPE_DOUBLE,
    Whole: FieldDescriptor.TYPE_INT64,
    Flag: FieldDescriptor.TYPE_BOOL,
    Classes: FieldDescriptor.TYPE_STRING,
}


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location("proto", ROOT / "tools" / "proto.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_committed_code_is_what_the_description_makes(tool: ModuleType, tmp_path: Path) -> None:
    made = tool.write_code(tmp_path)
    assert [file.name for file in made] == ["detection_pb2.py", "detection_pb2.pyi", "detection_pb2_grpc.py"]
    for file in made:
        committed = tool.PROTO / file.relative_to(tmp_path)
        assert committed.read_text() == file.read_text(), f"{committed.name} is old; run tools/proto.py."


def test_what_the_generated_code_needs_is_what_we_ask_for(tool: ModuleType) -> None:
    folder = (tool.PROTO / tool.SOURCE).parent
    grpc = re.search(r"GRPC_GENERATED_VERSION = '([\d.]+)'", (folder / "detection_pb2_grpc.py").read_text())
    protobuf = re.search(r"Protobuf Python Version: ([\d.]+)", (folder / "detection_pb2.py").read_text())
    project = (ROOT / "pyproject.toml").read_text()
    assert f'"grpcio>={grpc[1]}"' in project
    assert f'"protobuf>={protobuf[1]}"' in project


def test_every_line_of_the_description_is_explained(tool: ModuleType) -> None:
    lines = [line.strip() for line in (tool.PROTO / tool.SOURCE).read_text().splitlines()]
    said = re.compile(r"(message|service|rpc) |.* = \d+;$")
    bare = [line for above, line in pairwise(lines) if said.match(line) and above[:2] != "//"]
    assert bare == []
    assert sum(1 for line in lines if said.match(line)) > 60


def test_the_options_are_those_of_the_table() -> None:
    fields = wire.Options.DESCRIPTOR.fields
    assert [field.name for field in fields] == [option.name for option in OPTIONS]
    for field, option in zip(fields, OPTIONS, strict=True):
        assert field.type == KINDS[type(option.kind)], field.name
        assert field.has_presence or field.is_repeated, field.name


@pytest.mark.parametrize(
    ("message", "body"),
    [
        (wire.Box, Box),
        (wire.Size, Size),
        (wire.DetectedObject, Detection),
        (wire.ModelUsed, ModelUsed),
        (wire.Thresholds, Thresholds),
        (wire.Version, Version),
        (wire.Model, Model),
    ],
)
def test_messages_use_the_words_of_rest(message: type, body: type) -> None:
    assert [field.name for field in message.DESCRIPTOR.fields] == list(body.model_fields)


def test_the_answer_uses_the_words_of_rest() -> None:
    fields = {field.name for message in (wire.DetectResponse, wire.Result) for field in message.DESCRIPTOR.fields}
    assert fields - {"results", "error"} == set(One.model_fields)
    assert [field.name for field in wire.Timings.DESCRIPTOR.fields] == list(Timings.__slots__)


def test_the_service_has_the_name_it_is_served_under() -> None:
    (service,) = wire.DESCRIPTOR.services_by_name.values()
    assert service.full_name == NAME
    assert [method.name for method in service.methods] == ["Detect", "DetectStream", "ListModels"]
