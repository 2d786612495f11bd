"""What the gateway tells of the models that it serves."""

from lookonce.access.gate import Caller
from lookonce.card import Card
from lookonce.errors import Forbidden, ServiceError
from lookonce.inference.port import ServedModel
from lookonce.pipeline.catalogue import Catalogue


def facts_of(model: ServedModel) -> dict[str, object]:
    versions = [_facts_of_version(model.cards[version]) for version in sorted(model.cards)]
    return {"name": model.name, "default_version": model.default_version, "versions": versions}


def _facts_of_version(card: Card) -> dict[str, object]:
    return {
        "version": card.version,
        "digest": card.served_sha256,
        "size": {"width": card.geometry.width, "height": card.geometry.height},
        "labels": list(card.labels),
        "thresholds": {"confidence": card.confidence, "iou": card.iou},
        "precision": card.precision,
        "max_batch": card.max_batch,
        "created": card.created,
    }


def models_for(caller: Caller, catalogue: Catalogue) -> list[ServedModel]:
    """Those that this caller may use, by name."""
    return [catalogue.models[name] for name in sorted(catalogue.models) if _may_use(caller, name)]


def default_model(catalogue: Catalogue) -> str | None:
    """The model that is meant where none is named, if there is such a one."""
    try:
        return catalogue.model(None).name
    except ServiceError:
        return None


def _may_use(caller: Caller, name: str) -> bool:
    try:
        caller.refuse_model(name)
    except Forbidden:
        return False
    return True
