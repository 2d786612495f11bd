"""Graphs that end in a TensorRT plugin: cut before it, for only TensorRT runs it and our contract does its work."""

import onnx

from lookonce.errors import LayoutUnknown, ModelRefused

EFFICIENT_NMS = "EfficientNMS_TRT"


def cut(model: onnx.ModelProto) -> tuple[onnx.ModelProto, int | None]:
    """The graph up to the plugin, and how the boxes that feed it are coded; the graph itself where there is none."""
    plugins = [node for node in model.graph.node if node.op_type.endswith("_TRT")]
    if not plugins:
        return model, None
    if len(plugins) > 1 or plugins[0].op_type != EFFICIENT_NMS:
        names = ", ".join(sorted({node.op_type for node in plugins}))
        raise LayoutUnknown(f"the graph needs the TensorRT plugin {names}, which is not known here; export it without.")
    box_coding = _box_coding(plugins[0])
    return _without(model, plugins[0]), box_coding


def _box_coding(node: onnx.NodeProto) -> int:
    values = {attribute.name: attribute.i for attribute in node.attribute}
    if values.get("background_class", -1) >= 0:
        raise ModelRefused("its EfficientNMS has a background class; export it without one.")
    inputs = [name for name in node.input if name]
    if len(inputs) < 2:
        raise ModelRefused("its EfficientNMS is fed no boxes or no scores; export it again.")
    if len(inputs) > 2:
        raise ModelRefused("its EfficientNMS decodes boxes from anchors; export it with decoded boxes.")
    return values.get("box_coding", 0)


def _without(model: onnx.ModelProto, node: onnx.NodeProto) -> onnx.ModelProto:
    boxes, scores = (name for name in node.input if name)
    activation = {attribute.name: attribute.i for attribute in node.attribute}.get("score_activation", 0)
    graph = model.graph
    graph.node.remove(node)
    if activation:
        graph.node.append(onnx.helper.make_node("Sigmoid", [scores], [f"{scores}/active"], name=f"{scores}/active"))
        scores = f"{scores}/active"
    _drop_what_nothing_makes(graph)
    del graph.output[:]
    graph.output.extend(onnx.ValueInfoProto(name=name) for name in (boxes, scores))
    return model


def _drop_what_nothing_makes(graph: onnx.GraphProto) -> None:
    """Nodes behind the plugin lost their input with it."""
    made = {value.name for value in graph.input} | {tensor.name for tensor in graph.initializer}
    kept = list[onnx.NodeProto]()
    for node in graph.node:
        if all(name in made for name in node.input if name):
            made.update(node.output)
            kept.append(node)
    del graph.node[:]
    graph.node.extend(kept)
