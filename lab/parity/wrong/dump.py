"""Prints JSON schemas of a service's own as one JSON object. Run by the Python of a cloud's virtual environment.

``dump.py PACKAGE MODULE...``: of each module its dictionaries that are schemas of an object, as ``<last>.<name>``, where
``last`` is the part of its name that says what it is about. Neutron has attribute maps instead; they are translated.
"""

import importlib
import json
import pkgutil
import sys
from typing import Any

_KINDS = {"type:string": "string", "type:string_or_none": "string", "type:boolean": "boolean", "type:uuid": "string"}


def schemas(name: str) -> dict[str, Any]:
    """The schemas of a package's modules, or of one module."""
    root = importlib.import_module(name)
    modules = [root]
    if hasattr(root, "__path__"):
        modules = [importlib.import_module(f"{name}.{m.name}") for m in pkgutil.iter_modules(root.__path__)]
    return {
        f"{name.split('.')[1] if module is root else module.__name__.rsplit('.', 1)[1]}.{key}": value
        for module in modules
        for key, value in vars(module).items()
        if isinstance(value, dict) and value.get("type") == "object" and not key.startswith("_") and "response" not in key
    }


def attributes(name: str) -> dict[str, Any]:
    """Neutron's resources as schemas, by the name of one: what is written, and its kind and length where that is simple."""
    root = importlib.import_module(name)
    found: dict[str, dict[str, Any]] = {}
    for info in pkgutil.iter_modules(root.__path__):
        module = importlib.import_module(f"{name}.{info.name}")
        for collection, fields in (getattr(module, "RESOURCE_ATTRIBUTE_MAP", None) or {}).items():
            properties = found.setdefault(_singular(collection), {})
            for field, traits in fields.items():
                if traits.get("allow_post") or traits.get("allow_put"):
                    properties[field] = _schema(traits.get("validate") or {})
    return {
        one: {"type": "object", "properties": {one: {"type": "object", "properties": properties}}}
        for one, properties in found.items()
    }


def _singular(collection: str) -> str:
    collection = collection.replace("-", "_")
    return collection[:-3] + "y" if collection.endswith("ies") else collection.removesuffix("s")


def _schema(validate: dict[str, Any]) -> dict[str, Any]:
    for rule, limit in validate.items():
        if rule in _KINDS:
            out: dict[str, Any] = {"type": _KINDS[rule]}
            return {**out, "maxLength": limit} if isinstance(limit, int) and out["type"] == "string" else out
        if rule == "type:values":
            return {"enum": list(limit)}
    return {"type": "string"} if validate else {}


if __name__ == "__main__":
    everything: dict[str, Any] = {}
    for argument in sys.argv[1:]:
        if argument == "neutron_lib.api.definitions":
            everything |= attributes(argument)
        elif argument == "cinder.db.api":
            importlib.import_module(argument)  # registers options that its schemas would register twice otherwise
        else:
            everything |= schemas(argument)
    print(json.dumps(everything, default=str))
