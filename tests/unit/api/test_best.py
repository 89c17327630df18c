"""The best value per epoch, folded up to a moment."""

from __future__ import annotations

import math

from api.jobs.best import Opening, Point, best_epoch

WHOLE = math.nan


def test_the_best_finite_value_wins_and_the_earliest_epoch_of_equal_ones() -> None:
    points = [Point(0, 1, WHOLE, 1, 0.5), Point(1, 1, WHOLE, 2, 0.7), Point(2, 1, WHOLE, 3, 0.7)]
    points.append(Point(3, 1, WHOLE, 4, math.inf))
    assert best_epoch(points, [], least=False) == (2, 0.7)
    assert best_epoch(points, [], least=True) == (1, 0.5)
    assert best_epoch([Point(0, 1, WHOLE, 1, math.nan)], [], least=False) is None
    assert best_epoch([], [], least=False) is None


def test_the_report_of_the_epoch_counts_before_those_of_its_steps() -> None:
    points = [Point(0, 1, WHOLE, 1, 0.5), Point(1, 1, 99, 1, 0.9), Point(2, 1, 100, 2, 0.1), Point(3, 1, 101, 2, 0.2)]
    assert best_epoch(points, [], least=False) == (1, 0.5)
    assert best_epoch(points, [], least=True) == (2, 0.2)


def test_an_opening_forgets_what_it_supersedes_from_its_place_on() -> None:
    points = [Point(0, 1, WHOLE, 1, 0.5), Point(1, 1, WHOLE, 2, 0.9)]
    anew = Opening(2, None, 1, 5)
    assert best_epoch(points, [], least=False) == (2, 0.9)
    assert best_epoch(points, [anew], least=False) == (1, 0.5)
    late, again = Point(6, 1, WHOLE, 2, 0.8), Point(7, 2, WHOLE, 2, 0.4)
    assert best_epoch([*points, late], [anew], least=False) == (1, 0.5)
    assert best_epoch([*points, late, again], [anew], least=True) == (2, 0.4)
    by_step = Opening(2, 50, 1, 5)
    assert best_epoch([Point(0, 1, 49, 3, 0.1), Point(1, 1, 50, 4, 0.2)], [by_step], least=False) == (3, 0.1)
