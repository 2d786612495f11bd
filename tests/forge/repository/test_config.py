"""The config is what Triton's own protobuf reads, says what shared practice asks, and carries every card."""

from collections.abc import Callable
from typing import TypeAlias

import pytest
from google.protobuf import text_format
from hypothesis import given
from hypothesis import strategies as st
from tritonclient.grpc.model_config_pb2 import DataType as TritonType
from tritonclient.grpc.model_config_pb2 import ModelConfig, ModelInstanceGroup, ModelQueuePolicy

from lookonce.card import Agreement, Card, Parity, Precision, RawHead, Target, Tensor, Verdict
from lookonce.errors import BackendContractBroken, RepositoryRefused
from lookonce.forge.config import (
    activated,
    cards_of,
    config_for,
    config_from_text,
    config_to_text,
    graph_sizes,
    served_versions,
    with_version,
)
from lookonce.vision.letterbox import Fit, Geometry

MakeCard: TypeAlias = Callable[..., Card]

texts = st.text(st.characters(codec="utf-8"), max_size=20)
digests = st.text("0123456789abcdef", min_size=64, max_size=64)
shares = st.floats(0, 1)
counts = st.integers(1, 5000)
agreements = st.builds(Agreement, st.sampled_from(Verdict), shares, counts, counts, shares, shares, st.booleans())
tensors = st.builds(
    Tensor, texts, st.sampled_from(["UINT8", "FP16", "FP32"]), st.lists(counts, min_size=1, max_size=4).map(tuple)
)
cards = st.builds(
    Card,
    name=st.just("shapes"),
    version=st.integers(1, 2**31),
    labels=st.lists(texts, max_size=100).map(tuple),
    geometry=st.builds(Geometry, counts, counts, st.sampled_from(Fit), st.integers(0, 255)),
    candidates=counts,
    max_batch=st.integers(1, 256),
    needs_nms=st.booleans(),
    layout=texts,
    precision=st.sampled_from(Precision),
    target=st.sampled_from(Target),
    exporter=texts,
    created=texts,
    source_sha256=digests,
    served_sha256=digests,
    parity=st.none() | st.builds(Parity, counts, shares, shares),
    agreement=st.none() | agreements,
    raw=st.none() | st.builds(RawHead, tensors, st.lists(tensors, max_size=3).map(tuple)),
    confidence=shares,
    iou=shares,
)


def reread(config: ModelConfig) -> ModelConfig:
    return text_format.Parse(config_to_text(config), ModelConfig())


@given(cards)
def test_every_card_travels_through_the_text_unchanged(card: Card) -> None:
    config = config_for(card)
    assert reread(config) == config
    assert cards_of(reread(config)) == ({card.version: card}, card.version)


@pytest.mark.parametrize("target", Target)
def test_the_face_is_the_contract(make_card: MakeCard, target: Target) -> None:
    config = reread(config_for(make_card(target=target)))
    (images,), (candidates,) = config.input, config.output
    assert (images.name, images.data_type, list(images.dims)) == ("images", TritonType.TYPE_UINT8, [480, 640, 3])
    assert (candidates.name, candidates.data_type) == ("candidates", TritonType.TYPE_FP32)
    assert list(candidates.dims) == [1000, 6]
    assert (config.name, config.max_batch_size) == ("shapes", 8)
    assert not config.response_cache.enable


def test_a_version_that_takes_one_picture_at_a_time_has_no_batch_axis_for_triton(make_card: MakeCard) -> None:
    config = reread(config_for(make_card(target=Target.TENSORRT, max_batch=1)))
    assert config.max_batch_size == 0
    assert not config.HasField("dynamic_batching")
    assert list(config.input[0].dims) == [1, 480, 640, 3]
    assert list(config.output[0].dims) == [1, 1000, 6]
    assert list(config.model_warmup[0].inputs["images"].dims) == [1, 480, 640, 3]
    (spec,) = config.optimization.cuda.graph_spec
    assert (spec.batch_size, list(spec.input["images"].dim)) == (0, [1, 480, 640, 3])


def test_a_model_served_as_it_came_keeps_its_own_tensors(make_card: MakeCard) -> None:
    picture = Tensor("in0", "FP32", (-1, 3, 480, 640))
    heads = Tensor("boxes", "FP16", (-1, 84, 8400)), Tensor("protos", "FP32", (-1, -1, 4))
    config = reread(config_for(make_card(target=Target.TENSORRT, raw=RawHead(picture, heads))))
    (images,), outputs = config.input, config.output
    assert (images.name, images.data_type, list(images.dims)) == ("in0", TritonType.TYPE_FP32, [3, 480, 640])
    assert [(head.name, head.data_type) for head in outputs] == [
        ("boxes", TritonType.TYPE_FP16),
        ("protos", TritonType.TYPE_FP32),
    ]
    assert [list(head.dims) for head in outputs] == [[84, 8400], [-1, 4]]
    assert list(config.optimization.cuda.graph_spec[0].input["in0"].dim) == [3, 480, 640]
    assert config.model_warmup[0].inputs["in0"].data_type == TritonType.TYPE_FP32


@pytest.mark.parametrize("target", Target)
def test_requests_are_batched_queued_and_refused_as_production_needs(make_card: MakeCard, target: Target) -> None:
    batching = reread(config_for(make_card(target=target))).dynamic_batching
    assert (batching.priority_levels, batching.default_priority_level) == (2, 2)
    assert list(batching.preferred_batch_size) == []
    assert batching.max_queue_delay_microseconds <= 1000
    policy = batching.default_queue_policy
    assert policy.timeout_action == ModelQueuePolicy.REJECT
    assert policy.allow_timeout_override
    assert policy.default_timeout_microseconds > 0
    assert policy.max_queue_size >= 8


@pytest.mark.parametrize("target", Target)
@pytest.mark.parametrize(("max_batch", "sizes"), [(1, [1]), (8, [1, 8])])
def test_a_model_is_warmed_up_at_one_and_at_the_maximum(
    make_card: MakeCard, target: Target, max_batch: int, sizes: list[int]
) -> None:
    config = reread(config_for(make_card(target=target, max_batch=max_batch)))
    assert [warm_up.batch_size for warm_up in config.model_warmup] == sizes
    assert all(warm_up.inputs["images"].zero_data for warm_up in config.model_warmup)
    assert all(list(warm_up.inputs["images"].dims)[-3:] == [480, 640, 3] for warm_up in config.model_warmup)


@pytest.mark.parametrize(
    ("target", "backend", "filename", "kind"),
    [
        (Target.TENSORRT, "tensorrt", "model.plan", ModelInstanceGroup.KIND_GPU),
        (Target.ONNXRUNTIME, "onnxruntime", "model.onnx", ModelInstanceGroup.KIND_AUTO),
        (Target.PYTHON, "python", "model.py", ModelInstanceGroup.KIND_CPU),
    ],
)
def test_each_target_has_its_backend(
    make_card: MakeCard, target: Target, backend: str, filename: str, kind: int
) -> None:
    config = reread(config_for(make_card(target=target)))
    assert (config.backend, config.default_model_filename) == (backend, filename)
    (instances,) = config.instance_group
    assert instances.kind == kind
    assert list(instances.gpus) == []
    assert instances.count == 2


def test_only_tensorrt_gets_cuda_graphs_each_for_exactly_its_own_batch_size(make_card: MakeCard) -> None:
    cuda = reread(config_for(make_card(target=Target.TENSORRT, max_batch=6))).optimization.cuda
    assert cuda.graphs
    assert [spec.batch_size for spec in cuda.graph_spec] == [1, 2, 4, 6]
    assert all(list(spec.input["images"].dim) == [480, 640, 3] for spec in cuda.graph_spec)
    assert not any(spec.HasField("graph_lower_bound") for spec in cuda.graph_spec)
    assert not config_for(make_card(target=Target.PYTHON)).HasField("optimization")


@pytest.mark.parametrize(
    ("max_batch", "sizes"), [(1, (1,)), (2, (1, 2)), (3, (1, 2, 3)), (8, (1, 2, 4, 8)), (12, (1, 2, 4, 8, 12))]
)
def test_graph_sizes_are_the_powers_of_two_and_the_maximum(max_batch: int, sizes: tuple[int, ...]) -> None:
    assert graph_sizes(max_batch) == sizes


def test_a_further_version_changes_nothing_that_is_served(make_card: MakeCard) -> None:
    first = config_for(make_card(1))
    second = with_version(first, make_card(2, precision=Precision.FP16))
    assert cards_of(second) == ({1: make_card(1), 2: make_card(2, precision=Precision.FP16)}, 1)
    assert served_versions(second) == (1,)
    assert cards_of(first) == ({1: make_card(1)}, 1), "the config that was given was changed"


def test_activating_pins_exactly_what_is_named(make_card: MakeCard) -> None:
    config = with_version(with_version(config_for(make_card(1)), make_card(2)), make_card(3))
    pinned = activated(config, 3, alongside=(1, 3))
    assert list(reread(pinned).version_policy.specific.versions) == [1, 3]
    assert cards_of(pinned)[1] == 3
    assert list(activated(pinned, 2).version_policy.specific.versions) == [2]
    assert activated(activated(config, 2), 1) == config


@pytest.mark.parametrize(
    ("policy", "served"),
    [("", (3,)), ("latest {}", (3,)), ("latest { num_versions: 2 }", (2, 3)), ("all {}", (1, 2, 3))],
)
def test_a_policy_edited_by_hand_is_read_as_triton_reads_it(
    make_card: MakeCard, policy: str, served: tuple[int, ...]
) -> None:
    config = with_version(with_version(config_for(make_card(1)), make_card(2)), make_card(3))
    config.ClearField("version_policy")
    text_format.Parse(f"version_policy {{ {policy} }}" if policy else "", config)
    assert served_versions(config) == served


def test_what_else_stands_in_a_config_stays(make_card: MakeCard) -> None:
    config = config_for(make_card(1))
    config.instance_group[0].count = 7
    config.parameters["threads"].string_value = "3"
    changed = activated(with_version(config, make_card(2)), 2)
    assert (changed.instance_group[0].count, changed.parameters["threads"].string_value) == (7, "3")


@pytest.mark.parametrize("change", [lambda c: with_version(c, next(iter(cards_of(c)[0].values()))), served_versions])
def test_a_config_without_cards_is_refused(change: Callable[[ModelConfig], object]) -> None:
    with pytest.raises(BackendContractBroken, match="shapes carries no card"):
        change(ModelConfig(name="shapes"))


@pytest.mark.parametrize("text", ["nonsense", "name: 3", 'name: "a" name', "max_batch_size: 99999999999999999999"])
def test_a_text_that_is_no_config_is_refused_with_its_file(text: str) -> None:
    with pytest.raises(RepositoryRefused, match=r"shapes/config\.pbtxt is no Triton model config"):
        config_from_text(text, "shapes/config.pbtxt")
