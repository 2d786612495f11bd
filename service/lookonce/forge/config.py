"""Triton's `config.pbtxt` for a name, written and read through Triton's own protobuf, never as a string."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from google.protobuf import text_format
from tritonclient.grpc.model_config_pb2 import DataType as TritonType
from tritonclient.grpc.model_config_pb2 import (
    ModelConfig,
    ModelDynamicBatching,
    ModelInput,
    ModelInstanceGroup,
    ModelOptimizationPolicy,
    ModelOutput,
    ModelParameter,
    ModelQueuePolicy,
    ModelVersionPolicy,
    ModelWarmup,
)

from lookonce.card import Card, Target, Tensor, cards_from_parameters, cards_to_parameters
from lookonce.errors import RepositoryRefused
from lookonce.inference.served import pinned

INSTANCES = 2
"""With one, a full queue stalls Triton's batcher as soon as there is a queue policy or a priority."""
DEFAULT_TIMEOUT_US = 5_000_000
QUEUE_DELAY_US = 100
QUEUED_BATCHES, QUEUED_AT_LEAST = 8, 64
PRIORITY_LEVELS, DEFAULT_PRIORITY = 2, 2


@dataclass(frozen=True, slots=True)
class Runtime:
    """How Triton runs the versions of one target."""

    backend: str
    filename: str
    instances: int
    kind: int


RUNTIMES: dict[Target, Runtime] = {
    Target.TENSORRT: Runtime("tensorrt", "model.plan", INSTANCES, ModelInstanceGroup.KIND_GPU),
    Target.ONNXRUNTIME: Runtime("onnxruntime", "model.onnx", INSTANCES, ModelInstanceGroup.KIND_AUTO),
    Target.PYTHON: Runtime("python", "model.py", INSTANCES, ModelInstanceGroup.KIND_CPU),
}


def config_for(card: Card) -> ModelConfig:
    """The config of a new name: this one version, served by default."""
    runtime = RUNTIMES[card.target]
    config = ModelConfig(
        name=card.name,
        backend=runtime.backend,
        default_model_filename=runtime.filename,
        max_batch_size=card.max_batch if _is_batched(card) else 0,
        input=[ModelInput(**_as_told(card.input_tensor))],
        output=[ModelOutput(**_as_told(tensor)) for tensor in card.output_tensors],
        instance_group=[ModelInstanceGroup(count=runtime.instances, kind=runtime.kind)],
        dynamic_batching=_batching(card) if _is_batched(card) else None,
        model_warmup=[_warm_up(card, size) for size in sorted({1, card.max_batch if _is_batched(card) else 1})],
    )
    if card.target is Target.TENSORRT:
        config.optimization.cuda.CopyFrom(_cuda_graphs(card))
    return activated(_with_cards(config, {card.version: card}, card.version), card.version)


def with_version(config: ModelConfig, card: Card) -> ModelConfig:
    """The config with this card in it; what is served stays as it was."""
    cards, default = cards_of(config)
    return _with_cards(config, cards | {card.version: card}, default)


def activated(config: ModelConfig, version: int, alongside: Iterable[int] = ()) -> ModelConfig:
    """The config that serves exactly `version`, by default, and those alongside."""
    cards, _ = cards_of(config)
    changed = _with_cards(config, cards, version)
    served = sorted({version, *alongside})
    changed.version_policy.CopyFrom(ModelVersionPolicy(specific=ModelVersionPolicy.Specific(versions=served)))
    return changed


def cards_of(config: ModelConfig) -> tuple[dict[int, Card], int]:
    """Every card a config carries, and the version that is served by default."""
    return cards_from_parameters(_strings(config), config.name)


def served_versions(config: ModelConfig) -> tuple[int, ...]:
    return tuple(pinned(config, cards_of(config)[0]))


def config_to_text(config: ModelConfig) -> str:
    text: str = text_format.MessageToString(config, as_utf8=True)
    return text


def config_from_text(text: str, source: str) -> ModelConfig:
    try:
        return text_format.Parse(text, ModelConfig())
    except text_format.ParseError as error:
        message = f"{source} is no Triton model config ({error}); mend it by hand or import under another name."
        raise RepositoryRefused(message) from error


def _is_batched(card: Card) -> bool:
    """A model of one fixed batch has no batch axis in Triton's eyes: the number is a part of its shape."""
    return card.input_tensor.shape[0] == -1


def _dims(tensor: Tensor) -> tuple[int, ...]:
    return tensor.shape[1:] if tensor.shape[0] == -1 else tensor.shape


def _as_told(tensor: Tensor) -> dict[str, Any]:
    return {"name": tensor.name, "data_type": TritonType.Value(f"TYPE_{tensor.type}"), "dims": _dims(tensor)}


def _batching(card: Card) -> ModelDynamicBatching:
    policy = ModelQueuePolicy(
        timeout_action=ModelQueuePolicy.REJECT,
        default_timeout_microseconds=DEFAULT_TIMEOUT_US,
        allow_timeout_override=True,
        max_queue_size=max(QUEUED_AT_LEAST, QUEUED_BATCHES * card.max_batch),
    )
    return ModelDynamicBatching(
        max_queue_delay_microseconds=QUEUE_DELAY_US,
        priority_levels=PRIORITY_LEVELS,
        default_priority_level=DEFAULT_PRIORITY,
        default_queue_policy=policy,
    )


def _warm_up(card: Card, size: int) -> ModelWarmup:
    told = _as_told(card.input_tensor)
    zeros = ModelWarmup.Input(data_type=told["data_type"], dims=told["dims"], zero_data=True)
    return ModelWarmup(name=f"batch of {size}", batch_size=size, inputs={told["name"]: zeros})


def _cuda_graphs(card: Card) -> ModelOptimizationPolicy.Cuda:
    """One graph for each batch size worth having, for a graph runs only at exactly its own size."""
    graph = ModelOptimizationPolicy.Cuda.GraphSpec
    told = {card.input_tensor.name: graph.Shape(dim=_dims(card.input_tensor))}
    sizes = graph_sizes(card.max_batch) if _is_batched(card) else (0,)
    return ModelOptimizationPolicy.Cuda(graphs=True, graph_spec=[graph(batch_size=size, input=told) for size in sizes])


def graph_sizes(max_batch: int) -> tuple[int, ...]:
    """The powers of two up to the maximum, and the maximum."""
    powers = (1 << exponent for exponent in range(max_batch.bit_length()))
    return tuple(sorted({*powers, max_batch}))


def _with_cards(config: ModelConfig, cards: dict[int, Card], default: int) -> ModelConfig:
    changed = ModelConfig()
    changed.CopyFrom(config)
    for key, text in cards_to_parameters(cards, default).items():
        changed.parameters[key].CopyFrom(ModelParameter(string_value=text))
    return changed


def _strings(config: ModelConfig) -> dict[str, str]:
    return {key: parameter.string_value for key, parameter in config.parameters.items()}
