"""What a detector found, as plain numbers: the best boxes of a picture, and how good they are (COCO's measure)."""

from __future__ import annotations

import contextlib
import io
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

DETECTIONS_MAX: Final = 100
"""COCO counts at most so many a picture."""

Rows = npt.NDArray[np.float32]


def best_detections(logits: torch.Tensor, boxes: torch.Tensor, *, sigmoid: bool) -> torch.Tensor:
    """Rows of score, class, left, top, right, bottom (shares of the picture), the best first.

    pictures x DETECTIONS_MAX x 6 whatever a model has to offer, so that processes can gather them; a row without a
    detection has score 0. ``boxes`` are centre x, centre y, width, height.
    """
    if sigmoid:
        # A box may be of several classes.
        scores = logits.float().sigmoid()
        flat, indices = scores.flatten(1).topk(min(DETECTIONS_MAX, scores[0].numel()))
        classes, queries = indices % scores.shape[-1], indices // scores.shape[-1]
    else:
        best, labels = logits.float().softmax(-1)[..., :-1].max(-1)
        flat, queries = best.topk(min(DETECTIONS_MAX, best.shape[1]))
        classes = labels.gather(1, queries)
    chosen = boxes.float().gather(1, queries[..., None].expand(-1, -1, 4))
    centre, half = chosen[..., :2], chosen[..., 2:] / 2
    corners = torch.cat([centre - half, centre + half], -1).clamp(0, 1)
    rows = torch.cat([flat[..., None], classes[..., None].float(), corners], -1)
    missing = DETECTIONS_MAX - rows.shape[1]
    return torch.nn.functional.pad(rows, (0, 0, 0, missing))


def measure(truth: dict[str, Any], image_ids: list[int], rows: Rows) -> dict[str, float]:
    """mAP50-95 and mAP50 as COCO defines them; precision and recall at IoU 0.5 and the score with the best F1.

    ``truth`` is a COCO document. Pictures that appear twice count once.
    """
    pictures = {image["id"]: image for image in truth["images"]}
    first = {image_id: index for index, image_id in reversed(list(enumerate(image_ids)))}
    results = []
    for image_id, index in first.items():
        width, height = pictures[image_id]["width"], pictures[image_id]["height"]
        for score, label, left, top, right, bottom in rows[index].tolist():
            if score > 0:
                box = [left * width, top * height, (right - left) * width, (bottom - top) * height]
                results.append({"image_id": image_id, "category_id": int(label), "bbox": box, "score": score})
    if not results:
        return dict.fromkeys(("mAP50-95", "mAP50", "precision", "recall"), 0.0)
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints tables
        known = COCO()
        known.dataset = truth
        known.createIndex()
        evaluation = COCOeval(known, known.loadRes(results), "bbox")
        evaluation.params.imgIds = sorted(first)
        evaluation.evaluate()
        evaluation.accumulate()
    # thresholds of IoU x recalls x classes x areas x limits of detections; -1: nothing to find
    precision = evaluation.eval["precision"][:, :, :, 0, -1]
    average = [float(part[part > -1].mean()) if (part > -1).any() else 0.0 for part in (precision, precision[:1])]
    at_best, recall = best_f1(evaluation)
    return {"mAP50-95": average[0], "mAP50": average[1], "precision": at_best, "recall": recall}


def best_f1(evaluation: COCOeval) -> tuple[float, float]:
    """Precision and recall over all pictures and classes, at IoU 0.5 and the score that makes F1 largest."""
    everything = evaluation.params.areaRng[0]
    parts = [part for part in evaluation.evalImgs if part is not None and part["aRng"] == everything]
    wanted = sum(int(np.sum(np.asarray(part["gtIgnore"]) == 0)) for part in parts)
    scores = np.concatenate([np.asarray(part["dtScores"], float) for part in parts] or [np.zeros(0)])
    counted = np.concatenate([part["dtIgnore"][0] == 0 for part in parts] or [np.zeros(0, bool)])
    matched = np.concatenate([part["dtMatches"][0] > 0 for part in parts] or [np.zeros(0, bool)])
    order = np.argsort(-scores, kind="stable")
    order = order[counted[order]]
    if not wanted or not len(order):
        return 0.0, 0.0
    right = np.cumsum(matched[order])
    precision, recall = right / np.arange(1, len(order) + 1), right / wanted
    f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-12)
    best = int(np.argmax(f1))
    return float(precision[best]), float(recall[best])
