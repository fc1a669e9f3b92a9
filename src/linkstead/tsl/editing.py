"""Change a draft: every function takes a model and gives the changed one, or refuses.

Source: `cloud-api.md` 9.4 and the references of the actions named below.
"""

from collections.abc import Collection
from dataclasses import replace
from typing import TypeVar

from linkstead.tsl.document import DuplicateError, ModelError
from linkstead.tsl.limits import FEATURES_PER_CALL_MAX, MODULE_ID_RULE, MODULE_NAME_RULE, is_module_id, is_module_name
from linkstead.tsl.model import Event, Module, Property, Service, ThingModel, find_module
from linkstead.tsl.reading import check_features, check_modules

Kind = TypeVar("Kind", Property, Event, Service)


def add_features(model: ThingModel, features: Module, module_id: str = "", module_name: str = "") -> ThingModel:
    """Add features to a module, which is made when it is not there. Source: CreateThingModel reference.

    Args:
        features: 1 to FEATURES_PER_CALL_MAX of them, as `read_thing_model_json` gives them; nothing else of it counts.
        module_name: needed for a new module; renames one that is there.

    Raises:
        DuplicateError: an identifier is taken by a feature of the same kind.
        ModelError: too many features at once or in all, too many modules, or a malformed id or name.
    """
    if not 1 <= len(features.features) <= FEATURES_PER_CALL_MAX:
        rule = f"must add 1 to {FEATURES_PER_CALL_MAX} functions at a time, not {len(features.features)}"
        raise ModelError("", rule)
    module = find_module(model, module_id) or Module(module_id)
    return put_module(
        model,
        replace(
            module,
            name=module_name or module.name,
            properties=_join("properties", module.properties, features.properties),
            events=_join("events", module.events, features.events),
            services=_join("services", module.services, features.services),
        ),
    )


def change_feature(
    model: ThingModel, identifier: str, features: Module, module_id: str = "", module_name: str = ""
) -> ThingModel:
    """Put one feature in the place of another of its kind. Source: UpdateThingModel reference.

    Args:
        identifier: of the feature to change; the new one may have another.
        features: the new feature and no other. The description stays when it brings none, because ThingModelJson has
            no place for it.
        module_name: renames the module, when given.

    Raises:
        DuplicateError: another feature of the kind has the new identifier.
        ModelError: there is no such module or feature, not one new feature, or a malformed name.
    """
    module = _need_module(model, module_id)
    if len(features.features) != 1:
        raise ModelError("", f"must change 1 function at a time, not {len(features.features)}")
    changed = replace(
        module,
        name=module_name or module.name,
        properties=_exchange("properties", module.properties, identifier, features.properties),
        events=_exchange("events", module.events, identifier, features.events),
        services=_exchange("services", module.services, identifier, features.services),
    )
    return put_module(model, changed)


def rename_module(model: ThingModel, module_id: str, module_name: str) -> ThingModel:
    """Give a custom module another name. Source: UpdateThingModel reference, newer text."""
    return put_module(model, replace(_need_module(model, module_id), name=module_name))


def delete_features(
    model: ThingModel,
    properties: Collection[str] = (),
    events: Collection[str] = (),
    services: Collection[str] = (),
    module_id: str = "",
) -> ThingModel:
    """Take features out of a module by their identifiers. Source: DeleteThingModel reference.

    Raises:
        ModelError: there is no such module, or no such feature in it; then nothing is taken out.
    """
    module = _need_module(model, module_id)
    changed = replace(
        module,
        properties=_take_out("properties", module.properties, properties),
        events=_take_out("events", module.events, events),
        services=_take_out("services", module.services, services),
    )
    return put_module(model, changed)


def delete_module(model: ThingModel, module_id: str) -> ThingModel:
    """Take out a custom module; "" empties the whole draft, custom modules too. Source: DeleteThingModel reference."""
    _need_module(model, module_id)
    if not module_id:
        return ThingModel(model.product_key)
    return replace(model, modules=tuple(module for module in model.modules if module.module_id != module_id))


def put_module(model: ThingModel, module: Module) -> ThingModel:
    """Put a module in the place of that with the same id, or after the others. Source: ImportThingModelTsl reference.

    A custom module without a name keeps the one it had.

    Raises:
        ModelError: too many modules or features, or a malformed id or name.
    """
    known = find_module(model, module.module_id)
    if module.module_id:
        module = replace(module, name=module.name or (known.name if known else ""))
        if not is_module_id(module.module_id):
            raise ModelError("functionBlockId", f"must be {MODULE_ID_RULE}")
        if not is_module_name(module.name):
            raise ModelError("functionBlockName", f"must be {MODULE_NAME_RULE}")
    elif module.name:
        raise ModelError("functionBlockName", "must be empty for the default module")
    check_features(module)
    if known is None:
        changed = replace(model, modules=(*model.modules, module))
    else:
        changed = replace(model, modules=tuple(module if found is known else found for found in model.modules))
    check_modules(changed)
    return changed


def _need_module(model: ThingModel, module_id: str) -> Module:
    module = find_module(model, module_id)
    if module is None:
        raise ModelError("functionBlockId", f"there is no module {module_id}")
    return module


def _join(kind: str, known: tuple[Kind, ...], new: tuple[Kind, ...]) -> tuple[Kind, ...]:
    identifiers = {found.identifier for found in known}
    for position, found in enumerate(new):
        if found.identifier in identifiers:
            raise DuplicateError(f"{kind}[{position}].identifier", f"{found.identifier} is there twice")
        identifiers.add(found.identifier)
    return known + new


def _exchange(kind: str, known: tuple[Kind, ...], identifier: str, new: tuple[Kind, ...]) -> tuple[Kind, ...]:
    if not new:
        return known
    changed = new[0]
    identifiers = [found.identifier for found in known]
    if identifier not in identifiers:
        raise ModelError("Identifier", f"there is no {identifier} among the {kind}")
    if changed.identifier != identifier and changed.identifier in identifiers:
        raise DuplicateError(f"{kind}[0].identifier", f"{changed.identifier} is there twice")
    return tuple(
        replace(changed, desc=changed.desc or found.desc) if found.identifier == identifier else found
        for found in known
    )


def _take_out(kind: str, known: tuple[Kind, ...], identifiers: Collection[str]) -> tuple[Kind, ...]:
    for identifier in identifiers:
        if all(found.identifier != identifier for found in known):
            raise ModelError(kind, f"there is no {identifier}")
    return tuple(found for found in known if found.identifier not in identifiers)
