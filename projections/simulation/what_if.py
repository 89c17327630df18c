"""A past run under other rules: the fold of early stopping itself, for many rules side by side. Pure.

A rule is followed by the functions that follow it live (projections/early_stop: attempts.opened, watch.judge,
decision.decision_of), so what it decides here is what it would have decided there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from events.early_stopping import EarlyStopping, read_settings
from events.envelope import Event
from events.types.jobs import StopDecided
from events.types.metrics import MetricsReported
from events.types.sessions import SessionOpened
from events.types.vocabulary import Fact
from projections.early_stop.attempts import Attempt, opened
from projections.early_stop.decision import decision_of
from projections.early_stop.history import EpochValue
from projections.early_stop.rules import better_by
from projections.early_stop.watch import Row, ended, judge, rows_of, trace
from projections.simulation.past_runs import PastRun
from projections.simulation.rule_texts import RuleText


@dataclass(frozen=True, slots=True)
class Score:
    """The metric by which runs are compared, and which of its values are better."""

    metric: str
    mode: str

    @classmethod
    def named(cls, metric: str, mode: str | None = None) -> Score:
        """Without a mode the name says which values are better. Raises ValueError for a name that is none."""
        settings = EarlyStopping.model_validate({"metric": metric, "mode": mode})
        return cls(settings.metric, settings.mode)

    @property
    def settings(self) -> EarlyStopping:
        return EarlyStopping.model_validate({"metric": self.metric, "mode": self.mode})


@dataclass(frozen=True, slots=True)
class Stop:
    """Where a rule ends an attempt. ``time`` is that of the report which decides it, in Unix seconds; ``epoch`` the one
    that runs then; ``best`` the score's best value up to there; ``offset`` the report's place in the log."""

    attempt: int
    time: float
    epoch: int | None
    best: EpochValue | None
    partition: int
    offset: int
    decided: StopDecided


@dataclass(slots=True)
class _Followed:
    """A run under one rule, or, without rules, along one score."""

    attempts: dict[int, Attempt] = field(default_factory=dict)
    stops: dict[int, Stop] = field(default_factory=dict)


class WhatIf:
    """One run under every rule. Feed it the run's events of ``training.metrics``, each once, in log order.

    What it remembers is bounded by rules times attempts, not by the run's length.
    """

    def __init__(self, run: PastRun, rules: Sequence[RuleText], score: Score | None = None) -> None:
        """``score``: by what every rule is compared; without one, each rule by the metric that it watches."""
        self.run, self.rules = run, tuple(rules)
        self.scores = tuple(score or _watched(run, rule, self.rules) for rule in self.rules)
        self._followed = {rule: _Followed() for rule in range(len(self.rules))}
        self._traced = {one: _Followed() for one in dict.fromkeys(self.scores)}

    def saw(self, event: Event[Fact]) -> None:
        if isinstance(event.data, SessionOpened):
            self._open(event.attempt, event.data)
        elif isinstance(event.data, MetricsReported):
            self._observe(event, event.data)

    def stops(self, rule: int) -> dict[int, Stop]:
        """Where the rule of this number ends which attempt, by attempt: at most once each."""
        return self._followed[rule].stops

    def first_stop(self, rule: int) -> Stop | None:
        """The run ends there: what came after it, further attempts too, would not have been."""
        stops = self.stops(rule)
        return stops[min(stops)] if stops else None

    def best(self, score: Score) -> EpochValue | None:
        """The best value of the whole run, of those that count at its end."""
        followed = self._traced[score]
        state = followed.attempts[max(followed.attempts)].state if followed.attempts else None
        if state is None:
            return None
        return ended(score.settings, state).history.best(better_by(score.settings))

    def measured(self, score: Score) -> bool:
        """Whether the run ever said this metric, be it NaN."""
        states = [attempt.state for attempt in self._traced[score].attempts.values()]
        return any(state is not None and state.place is not None for state in states)

    def _open(self, number: int, session: SessionOpened) -> None:
        for index, rule in enumerate(self.rules):
            given = session.early_stopping if rule.given is None else self.run.settings(rule.given)
            _keep(self._followed[index], number, opened(self._followed[index].attempts, number, given))
        for score, followed in self._traced.items():
            settings = score.settings.model_dump(mode="json", include={"metric", "mode"})
            _keep(followed, number, opened(followed.attempts, number, settings))

    def _observe(self, event: Event[Fact], data: MetricsReported) -> None:
        columns: dict[str, list[Row]] = {}

        def rows(settings: EarlyStopping) -> list[Row]:
            if settings.metric not in columns:
                columns[settings.metric] = list(rows_of(settings, event))  # type: ignore[arg-type]
            return columns[settings.metric]

        traced = [(score.settings, followed, rows(score.settings)) for score, followed in self._traced.items()]
        judged = []
        for index, followed in self._followed.items():
            attempt = followed.attempts.get(event.attempt)
            if attempt is not None and attempt.state is not None and event.attempt == max(followed.attempts):
                settings, _ = read_settings(attempt.settings)
                judged.append((index, settings, followed, rows(settings)))
        for number, (time, epoch) in enumerate(zip(data.times, data.epochs, strict=True)):
            self.run.spans.saw(event.attempt, time, epoch)
            for settings, followed, column in traced:
                attempt = followed.attempts.get(event.attempt)
                if attempt is not None and attempt.state is not None and event.attempt == max(followed.attempts):
                    state = trace(settings, attempt.state, column[number])
                    followed.attempts[event.attempt] = Attempt(attempt.settings, state)
            for index, settings, followed, column in judged:
                self._judge(event, index, settings, followed, column[number])

    def _judge(self, event: Event[Fact], index: int, settings: EarlyStopping, followed: _Followed, row: Row) -> None:
        assert event.position is not None
        before = followed.attempts[event.attempt]
        assert before.state is not None
        state, verdict = judge(settings, before.state, row)
        if state is not before.state:
            followed.attempts[event.attempt] = Attempt(before.settings, state)
        if verdict is None:
            return
        score = self._traced[self.scores[index]].attempts[event.attempt].state
        followed.stops[event.attempt] = Stop(
            attempt=event.attempt,
            time=row.time,
            epoch=state.epoch,
            best=None if score is None else score.history.best(better_by(self.scores[index].settings)),
            partition=event.position.partition,
            offset=event.position.offset,
            decided=decision_of(event, settings, verdict),  # type: ignore[arg-type]
        )


def _keep(followed: _Followed, number: int, attempt: Attempt | None) -> None:
    if attempt is not None:
        followed.attempts[number] = attempt


def _watched(run: PastRun, rule: RuleText, rules: Sequence[RuleText]) -> Score:
    """What the rule watches; a run whose own settings watch nothing is compared by what the first other rule does."""
    given = run.settings(rule.given)
    if given is None:
        given = run.settings(next((other.given for other in rules if other.given is not None), {}))
    settings, _ = read_settings(given)
    return Score(settings.metric, settings.mode)
