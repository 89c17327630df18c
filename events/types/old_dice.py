"""The old single ``annotations.json``: the annotations of one task, or of several, told apart.

It may name one task (``task_type``), several (a list), or none; then, and between several, each annotation belongs to
the tasks whose fields it has, unless it names its own.
"""

from __future__ import annotations

from typing import Any, Final

from events.types.vocabulary import TaskType, canonical_task_type

_NEEDED: Final = {
    TaskType.DETECTION: "bbox",
    TaskType.SEGMENTATION: "segmentation",
    TaskType.POSE: "keypoints",
}


def task_contents(content: Any) -> dict[TaskType | str, Any]:
    """What a file for each task alone would hold. What has no known shape is given back whole, for its problems."""
    if not isinstance(content, dict):
        return {"": content}
    named = content.get("task_type", content.get("task_types"))
    if isinstance(named, str):
        return {_task(named): content}
    if isinstance(named, list) and named and all(isinstance(name, str) for name in named):
        tasks = [_task(name) for name in named]
    else:
        tasks = sorted({task for entry in _annotations(content) for task in _tasks_of(entry)}, key=str)
    if not tasks:
        return {"": content}
    return {task: _part(content, task) for task in dict.fromkeys(tasks)}


def _task(name: str) -> TaskType | str:
    name = str(canonical_task_type(name))
    return TaskType(name) if name in list(TaskType) else name


def _images(content: dict[str, Any]) -> list[Any]:
    images = content.get("images")
    return images if isinstance(images, list) else []


def _annotations(content: dict[str, Any]) -> list[dict[str, Any]]:
    return [entry for image in _images(content) for entry in _annotations_of(image) if isinstance(entry, dict)]


def _annotations_of(image: Any) -> list[Any]:
    found = image.get("annotations") if isinstance(image, dict) else None
    return found if isinstance(found, list) else []


def _tasks_of(annotation: dict[str, Any]) -> list[TaskType | str]:
    own = annotation.get("task_type")
    if isinstance(own, str):
        return [_task(own)]
    shown = [task for task, name in _NEEDED.items() if annotation.get(name)]
    return [*shown] or [TaskType.CLASSIFICATION]


def _part(content: dict[str, Any], task: TaskType | str) -> dict[str, Any]:
    images = []
    for image in _images(content):
        if isinstance(image, dict) and isinstance(image.get("annotations"), list):
            # An entry that is no object stays everywhere: its problem is to be named.
            kept = [entry for entry in image["annotations"] if not isinstance(entry, dict) or task in _tasks_of(entry)]
            image = {**image, "annotations": kept}
        images.append(image)
    return {**content, "task_type": str(task), "images": images}
