"""What the exported file says of itself."""

from collections.abc import Mapping
from pathlib import Path

import onnx


def write_metadata(path: Path, metadata: Mapping[str, str]) -> None:
    """Add to, or replace, the model's metadata entries."""
    model = onnx.load(path)
    entries = {entry.key: entry.value for entry in model.metadata_props} | dict(metadata)
    onnx.helper.set_model_props(model, entries)
    onnx.save(model, path)
