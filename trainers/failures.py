"""Why a training failed, from the exception that ended it."""

from __future__ import annotations

from typing import Final

OOM_WORDS: Final = ("out of memory", "cannot allocate memory", "alloc_failed", "insufficient shared memory")
"""Of CUDA, the C library, cuBLAS and the loaders of pictures."""
# The first cause whose class name or words fit counts; names instead of classes, because no framework is imported here.
CAUSES: Final[tuple[tuple[str, tuple[str, ...], tuple[str, ...]], ...]] = (
    # error code                 class names                                   words in the message
    ("OOM", ("OutOfMemoryError", "MemoryError"), OOM_WORDS),
    ("DATASET_NOT_FOUND", ("DatasetNotFound",), ("dataset not found",)),
    ("INVALID_CONFIG", ("InvalidConfig", "SettingsError", "ValidationError", "InvalidDataset"), ()),
    ("CHECKPOINT_NOT_USABLE", ("CheckpointNotUsable",), ()),
    ("CHECKPOINT_UPLOAD_FAILED", ("CheckpointUploadFailed",), ()),
    ("TIMEOUT", ("TimeoutError",), ("timed out after", "wait timeout after", "collective operation timeout")),
    ("USER_STOPPED", ("KeyboardInterrupt",), ()),
)
UNKNOWN: Final = "UNKNOWN"
MESSAGE_LENGTH_MAX: Final = 4_000


def error_code_of(error: BaseException) -> str:
    """The design's error code; UNKNOWN where no cause fits. The whole chain of causes is looked at."""
    chain: list[BaseException] = []
    current: BaseException | None = error
    while current is not None and current not in chain:
        chain.append(current)
        current = current.__cause__ or current.__context__
    for code, names, words in CAUSES:
        for link in chain:
            kinds = {kind.__name__ for kind in type(link).__mro__}
            text = str(link).lower()
            if kinds.intersection(names) or any(word in text for word in words):
                return code
    return UNKNOWN


def message_of(error: BaseException) -> str:
    """What a person is told."""
    text = str(error).strip() or type(error).__name__
    return f"{type(error).__name__}: {text}"[:MESSAGE_LENGTH_MAX]
