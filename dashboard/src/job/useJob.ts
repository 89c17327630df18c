/** A job as it is now: fetched, then followed live, with no point missing or twice. */

import { useCallback, useEffect, useRef, useState } from "preact/hooks";

import { get } from "../api/client";
import { LiveJob, type Connection, type Frame } from "../api/live";
import type { Job, LogLine, Series } from "../api/types";
import { fromAnswer, fromFrame, joined, newerThan, type Points } from "../charts/points";

/** Points of one series that are drawn at most when the server samples: more than a screen has columns. */
const POINTS_MAX = 2_000;
/** Live points after which the server is asked to sample again, so that a long run costs no more than a short one. */
const LIVE_POINTS_MAX = 20_000;
const LINES_MAX = 2_000;
/** Frames of one picture are drawn together. */
const DRAW_MS = 100;

export interface Followed {
  job: Job | null;
  series: ReadonlyMap<string, Points>;
  totals: ReadonlyMap<string, { total: number; sampled: boolean }>;
  lines: readonly LogLine[];
  connection: Connection;
  error: Error | null;
  gone: string | null;
  /** Counts what was announced: checkpoints, ends. Lists that are fetched follow it. */
  news: number;
  reload: () => void;
}

type Shown = Omit<Followed, "reload">;

const NOTHING: Shown = {
  job: null,
  series: new Map(),
  totals: new Map(),
  lines: [],
  connection: "connecting",
  error: null,
  gone: null,
  news: 0,
};

export function useJob(id: number): Followed {
  const [shown, setShown] = useState<Shown>(NOTHING);
  // Frames come faster than pictures: they change this, and a timer shows it.
  const now = useRef<Shown>(NOTHING);
  const timer = useRef<number | undefined>(undefined);
  const livePoints = useRef<Map<string, Points>>(new Map());
  const liveCount = useRef(0);
  const loads = useRef(0);

  const change = useCallback((part: Partial<Shown>) => {
    now.current = { ...now.current, ...part };
    timer.current ??= window.setTimeout(() => {
      timer.current = undefined;
      setShown(now.current);
    }, DRAW_MS);
  }, []);

  const loadJob = useCallback(async () => {
    try {
      change({ job: await get<Job>(`/training/jobs/${id}`), error: null });
    } catch (error) {
      change({ error: error as Error });
    }
  }, [id, change]);

  const loadSeries = useCallback(async () => {
    liveCount.current = 0;
    loads.current += 1;
    const turn = loads.current;
    const before = livePoints.current;
    // What is live now and later may be in the answer or not: whatever it lacks is added.
    const since = (livePoints.current = new Map());
    try {
      const answer = await get<{ series: Series[] }>(`/training/jobs/${id}/metrics/series`, { max_points: POINTS_MAX });
      // Answers may overtake each other: the last one that was asked for knows most.
      if (turn !== loads.current) return;
      const series = new Map(answer.series.map((one) => [one.name, fromAnswer(one)]));
      // The read model may be behind the log: what came live before the question is not in the answer by that alone.
      for (const [name, points] of before) {
        const known = series.get(name) ?? EMPTY;
        series.set(name, joined(known, newerThan(points, known.times.at(-1) ?? -Infinity)));
      }
      for (const [name, points] of since) series.set(name, joined(series.get(name) ?? EMPTY, points));
      const totals = new Map(answer.series.map((one) => [one.name, { total: one.total_points, sampled: one.sampled }]));
      change({ series, totals, error: null });
    } catch (error) {
      change({ error: error as Error });
    }
  }, [id, change]);

  const reload = useCallback(() => {
    void loadJob();
    void loadSeries();
  }, [loadJob, loadSeries]);

  useEffect(() => {
    now.current = NOTHING;
    setShown(NOTHING);
    const measured = (frame: Extract<Frame, { type: "metrics" }>) => {
      const series = new Map(now.current.series);
      for (const [name, points] of fromFrame(frame.data)) {
        livePoints.current.set(name, joined(livePoints.current.get(name) ?? EMPTY, points));
        series.set(name, joined(series.get(name) ?? EMPTY, points));
        liveCount.current += points.values.length;
      }
      change({ series });
      if (liveCount.current > LIVE_POINTS_MAX) void loadSeries();
    };
    const updated = (part: Partial<Job>) => {
      if (now.current.job !== null) change({ job: { ...now.current.job, ...part } });
    };
    const live = new LiveJob(id, {
      frame(frame) {
        switch (frame.type) {
          case "snapshot":
            change({ job: frame.data.job });
            void loadSeries();
            break;
          case "metrics":
            measured(frame);
            break;
          case "progress":
            updated({
              current_epoch: frame.data.epoch,
              total_epochs: frame.data.total,
              phase: frame.data.phase,
              eta_seconds: frame.data.eta_seconds ?? null,
            });
            break;
          case "log":
            change({ lines: [...now.current.lines, frame.data].slice(-LINES_MAX) });
            break;
          case "gap":
            void loadSeries();
            break;
          default:
            // Status, error, checkpoint: the whole answer says more than the frame.
            void loadJob();
            change({ news: now.current.news + 1 });
        }
      },
      connection: (connection) => change({ connection }),
      gone: (gone) => change({ gone }),
    });
    return () => {
      live.close();
      window.clearTimeout(timer.current);
      timer.current = undefined;
    };
  }, [id]);

  return { ...shown, reload };
}

/** The named series between two times (Unix seconds), sampled anew. */
export async function loadPart(id: number, names: string[], since: number, until: number): Promise<Map<string, Points>> {
  const iso = (seconds: number) => new Date(seconds * 1000).toISOString();
  const query = { names: names.join(","), max_points: POINTS_MAX, since: iso(since), until: iso(until) };
  const answer = await get<{ series: Series[] }>(`/training/jobs/${id}/metrics/series`, query);
  return new Map(answer.series.map((one) => [one.name, fromAnswer(one)]));
}

const EMPTY: Points = { steps: [], epochs: [], times: [], values: [] };
