"""Whether a job can be what its creator asks for: model, framework, task, data set and configuration. Pure."""

from __future__ import annotations

from events.config_check import config_problems, did_you_mean
from events.config_schema import general_schema, with_platform_keys
from events.types.datasets import DatasetRegistered
from events.types.models import ModelRegistered
from events.types.splits import InvalidStrategy, parse_strategy
from events.types.vocabulary import JsonObject
from producers.catalogue import CONFIG_SCHEMA, Offer
from producers.commands import CreateJob, framework_of
from producers.errors import FieldProblem
from producers.secrets import secret_problems


def creation_problems(
    command: CreateJob, dataset: DatasetRegistered | None, offer: Offer
) -> tuple[str | None, list[FieldProblem]]:
    """The framework that trains it, and everything that is wrong with the request."""
    framework, problems = _framework(command, offer)
    model = offer.models.get(framework or "")
    if framework is not None:
        problems += _model_problems(command, framework, model, offer)
    problems += _dataset_problems(command, dataset)
    problems += _config_problems(command, model)
    return framework, problems


def _framework(command: CreateJob, offer: Offer) -> tuple[str | None, list[FieldProblem]]:
    framework = command.framework or framework_of(command.model_name, offer.models)
    if framework is not None:
        return framework, []
    if offer.models:
        message = f"model {command.model_name!r} is offered by {', '.join(sorted(offer.models))}; name one of them"
    else:
        meant = did_you_mean(command.model_name, offer.names)
        message = f"no framework is known for model {command.model_name!r}; name one{meant}"
    return None, [FieldProblem(("body", "framework"), message)]


def _model_problems(
    command: CreateJob, framework: str, model: ModelRegistered | None, offer: Offer
) -> list[FieldProblem]:
    if model is not None and command.task_type not in model.task_types:
        message = f"model {model.name} is for {' and '.join(model.task_types)}, not for {command.task_type}"
        return [FieldProblem(("body", "task_type"), message, str(command.task_type))]
    # Who runs the trainer himself may train what he likes; a framework without a catalogue is somebody's own trainer.
    if model is None and command.launch and offer.names:
        meant = did_you_mean(command.model_name, offer.names)
        message = f"{framework} offers no model {command.model_name!r}{meant}"
        return [FieldProblem(("body", "model_name"), message, command.model_name)]
    return []


def _dataset_problems(command: CreateJob, dataset: DatasetRegistered | None) -> list[FieldProblem]:
    if dataset is None:
        message = f"data set {command.dataset_id} is not registered"
        return [FieldProblem(("body", "dataset_id"), message, command.dataset_id)]
    if command.task_type not in dataset.task_types:
        message = f"data set {command.dataset_id} has annotations for {', '.join(dataset.task_types)} only"
        return [FieldProblem(("body", "task_type"), message, str(command.task_type))]
    return []


def _config_problems(command: CreateJob, model: ModelRegistered | None) -> list[FieldProblem]:
    registered = model.capability.get(CONFIG_SCHEMA) if model is not None else None
    schema = with_platform_keys(registered) if isinstance(registered, dict) else general_schema()
    config = {name: value for name, value in command.config.items() if name != "advanced_config"}
    advanced_inside = command.config.get("advanced_config")
    advanced = command.advanced_config or advanced_inside or {}
    secrets = [
        *secret_problems("config", config, _names(schema, "config")),
        *secret_problems("advanced_config", advanced, _names(schema, "advanced_config")),
    ]
    places = {problem.location[1:] for problem in secrets}
    found = [
        FieldProblem(("body", *problem.location), problem.message, problem.value)
        for problem in config_problems(schema, config, advanced)
        if not any(problem.location[: len(place)] == place for place in places)
    ]
    all_found = [*secrets, *found, *_strategy_problems(config.get("split_strategy"))]
    return [_inside(problem) for problem in all_found] if advanced_inside else all_found


def _strategy_problems(given: object) -> list[FieldProblem]:
    """What a schema does not see: names of strategies in other spellings, shares that must be 1 together."""
    if not isinstance(given, dict):
        return []
    try:
        parse_strategy(given)
    except InvalidStrategy as error:
        place = ("body", "config", "split_strategy")
        return [FieldProblem((*place, *filter(None, field.split("."))), message) for field, message in error.problems]
    return []


def _inside(problem: FieldProblem) -> FieldProblem:
    """A problem of an ``advanced_config`` that stands inside ``config``, under its place in the request."""
    if problem.location[1] != "advanced_config":
        return problem
    return FieldProblem(("body", "config", *problem.location[1:]), problem.message, problem.value)


def _names(schema: JsonObject, part: str) -> set[str]:
    return set(schema.get("properties", {}).get(part, {}).get("properties", {}))
