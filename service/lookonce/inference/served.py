"""What Triton's config of a model says is served."""

from collections.abc import Mapping

from google.protobuf import text_format
from tritonclient.grpc.model_config_pb2 import ModelConfig

from lookonce.card import Card, cards_from_parameters
from lookonce.errors import BackendContractBroken
from lookonce.inference.port import ServedModel


def config_from_text(text: str, name: str) -> ModelConfig:
    try:
        return text_format.Parse(text, ModelConfig())
    except text_format.ParseError as error:
        raise BackendContractBroken(f"the config.pbtxt of model {name} cannot be read: {error}.") from error


def served_model(config: ModelConfig) -> ServedModel:
    """The model with the cards of those versions that its version policy lets through."""
    strings = {key: parameter.string_value for key, parameter in config.parameters.items()}
    cards, default = cards_from_parameters(strings, config.name)
    served = {version: cards[version] for version in pinned(config, cards) if version in cards}
    if default not in served:
        raise BackendContractBroken(
            f"model {config.name} has {default} as its default version and does not serve it; "
            f"run `lookonce model activate {config.name} {default}`."
        )
    return ServedModel(config.name, default, served)


def pinned(config: ModelConfig, cards: Mapping[int, Card]) -> list[int]:
    """The versions that Triton is told to serve; somebody may have edited the policy by hand."""
    policy = config.version_policy
    if policy.HasField("specific"):
        return sorted(policy.specific.versions)
    newest = len(cards) if policy.HasField("all") else policy.latest.num_versions or 1
    return sorted(cards)[-newest:]
