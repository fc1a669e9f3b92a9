"""Thing models for tests: the samples, and small documents to break one rule in."""

import json
from pathlib import Path
from typing import Any

from linkstead.tsl import Module, ThingModel, read_tsl

GOLDEN = Path(__file__).parents[1] / "golden" / "tsl"
SINGLE_MODULE_SAMPLES = ("lamp", "all-types", "raw-probe")


def load(name: str) -> Any:
    """A sample as JSON."""
    return json.loads((GOLDEN / name).read_text(encoding="utf-8"))


def read_sample(name: str) -> ThingModel:
    """A model of one or of several samples: `lamp`, or `multi-module` for both of its modules."""
    names = (f"{name}.default", f"{name}.testFb") if name == "multi-module" else (name,)
    documents = [read_tsl((GOLDEN / f"{each}.tsl.json").read_bytes()) for each in names]
    return ThingModel(documents[0].product_key, tuple(document.module for document in documents))


def read_module(document: dict[str, Any]) -> Module:
    """Read a document that was built here."""
    return read_tsl(json.dumps(document)).module


def parameter(identifier: str = "Level", data_type: dict[str, Any] | None = None, **keys: Any) -> dict[str, Any]:
    """An input or output."""
    return {
        "identifier": identifier,
        "name": "Level",
        "dataType": {"type": "int"} if data_type is None else data_type,
        **keys,
    }


def property_(identifier: str = "Level", data_type: dict[str, Any] | None = None, **keys: Any) -> dict[str, Any]:
    """A property."""
    return parameter(identifier, data_type, accessMode="rw") | keys


def event(identifier: str = "Alarm", *outputs: dict[str, Any], **keys: Any) -> dict[str, Any]:
    """An event."""
    return {"identifier": identifier, "name": "Alarm", "type": "info", "outputData": list(outputs)} | keys


def service(identifier: str = "Run", *inputs: dict[str, Any], **keys: Any) -> dict[str, Any]:
    """A service."""
    return {"identifier": identifier, "name": "Run", "callType": "sync", "inputData": list(inputs)} | keys


def document(**keys: Any) -> dict[str, Any]:
    """A document with nothing in it but `keys`."""
    return {"profile": {"version": "1.0", "productKey": "a1Lnk5tEad0"}, **keys}
