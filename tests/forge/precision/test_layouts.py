"""Every layout we can import, in half precision."""

from pathlib import Path

import onnx
import pytest
from onnx import TensorProto
from tests.forge import sources

from lookonce.forge.flow import Flow
from lookonce.forge.half import to_fp16
from lookonce.forge.recognise import Wishes, read
from lookonce.forge.source import read_source
from lookonce.forge.surgery import rows_kept, served_graph


@pytest.mark.parametrize("layout", sorted(sources.DRAWN))
def test_every_layout_decodes_at_full_precision_behind_half_precision_convolutions(layout: str, tmp_path: Path) -> None:
    reading = read(read_source(sources.write(sources.draw(layout), tmp_path / "m.onnx")), Wishes(layout=layout))
    half = to_fp16(served_graph(reading, rows_kept(reading, 50), 2))
    onnx.checker.check_model(half, full_check=True)
    infos = onnx.shape_inference.infer_shapes(half).graph.value_info
    halved = {info.name for info in infos if info.type.tensor_type.elem_type == TensorProto.FLOAT16}
    flow = Flow(half.graph)
    assert {flow.nodes[index].output[0] for index in flow.heavy} <= halved
    assert not [name for index in flow.behind(["candidates"]) for name in flow.nodes[index].output if name in halved]
