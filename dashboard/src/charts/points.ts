/** Points of a job's series: what the API answered, and what came live since; each point once. */

import type { MetricColumns } from "../api/live";
import type { MetricValue, Series } from "../api/types";

export interface Points {
  steps: (number | null)[];
  epochs: (number | null)[];
  /** Unix seconds. */
  times: number[];
  /** Not finite: a hole in the line. */
  values: number[];
}

export type Axis = "step" | "epoch" | "time";

export function number(value: MetricValue): number {
  return typeof value === "number" ? value : Number(value);
}

export function fromAnswer(series: Series): Points {
  return { steps: series.steps, epochs: series.epochs, times: series.times, values: series.values.map(number) };
}

/** Live columns as points of each name, `phase/name`. */
export function fromFrame(columns: MetricColumns): Map<string, Points> {
  const found = new Map<string, Points>();
  for (const [key, values] of Object.entries(columns.values)) {
    const name = key.startsWith(`${columns.phase}/`) ? key : `${columns.phase}/${key}`;
    const points: Points = { steps: [], epochs: [], times: [], values: [] };
    values.forEach((value, place) => {
      if (value === null) return;
      const time = columns.times[place] ?? 0;
      points.steps.push(columns.steps[place] ?? null);
      points.epochs.push(columns.epochs[place] ?? null);
      points.times.push(typeof time === "number" ? time : Date.parse(time) / 1000);
      points.values.push(number(value));
    });
    if (points.values.length > 0) found.set(name, points);
  }
  return found;
}

function identity(points: Points, place: number): string {
  return `${points.epochs[place]}|${points.steps[place]}|${(points.times[place] ?? 0).toFixed(3)}`;
}

/** `known` followed by the points of `more` that it does not hold. */
export function joined(known: Points, more: Points): Points {
  const seen = new Set<string>();
  for (let place = 0; place < known.values.length; place += 1) seen.add(identity(known, place));
  const result: Points = {
    steps: [...known.steps],
    epochs: [...known.epochs],
    times: [...known.times],
    values: [...known.values],
  };
  for (let place = 0; place < more.values.length; place += 1) {
    if (seen.has(identity(more, place))) continue;
    result.steps.push(more.steps[place] ?? null);
    result.epochs.push(more.epochs[place] ?? null);
    result.times.push(more.times[place] ?? 0);
    result.values.push(more.values[place] ?? NaN);
  }
  return result;
}

/** The points after a time (Unix seconds). */
export function newerThan(points: Points, time: number): Points {
  const kept = points.times.map((one) => one > time);
  const of = <T,>(column: T[]): T[] => column.filter((_, place) => kept[place]);
  return { steps: of(points.steps), epochs: of(points.epochs), times: of(points.times), values: of(points.values) };
}

/** The last step that was seen of each epoch: where a report of the whole epoch stands on an axis of steps. */
export function lastSteps(all: Iterable<Points>): Map<number, number> {
  const last = new Map<number, number>();
  for (const points of all) {
    points.steps.forEach((step, place) => {
      const epoch = points.epochs[place];
      if (step !== null && epoch !== null && epoch !== undefined) last.set(epoch, Math.max(last.get(epoch) ?? 0, step));
    });
  }
  return last;
}

/** x and y along an axis, sorted by x; of points at one x the last one counts. Epochs: steps lie within their epoch. */
export function along(points: Points, axis: Axis, epochSteps: Map<number, number>): [number[], number[]] {
  const pairs: [number, number][] = [];
  for (let place = 0; place < points.values.length; place += 1) {
    const x = position(points, place, axis, epochSteps);
    if (x !== null) pairs.push([x, points.values[place] ?? NaN]);
  }
  pairs.sort((left, right) => left[0] - right[0]);
  const xs: number[] = [];
  const ys: number[] = [];
  for (const [x, y] of pairs) {
    if (xs.at(-1) === x) ys[ys.length - 1] = y;
    else {
      xs.push(x);
      ys.push(y);
    }
  }
  return [xs, ys];
}

export function position(points: Points, place: number, axis: Axis, epochSteps: Map<number, number>): number | null {
  const step = points.steps[place] ?? null;
  const epoch = points.epochs[place] ?? null;
  if (axis === "time") return points.times[place] ?? null;
  if (axis === "step") return step ?? (epoch === null ? place : (epochSteps.get(epoch) ?? epoch));
  if (epoch === null) return null;
  const before = epochSteps.get(epoch - 1) ?? 0;
  const last = epochSteps.get(epoch);
  if (step === null || last === undefined || last <= before) return epoch;
  return epoch - 1 + (step - before) / (last - before);
}

/** Exponential moving average, corrected for its beginning as in Adam (Kingma and Ba, 2015); holes stay holes. */
export function smoothed(values: number[], weight: number): number[] {
  if (weight <= 0) return values;
  let mean = 0;
  let count = 0;
  return values.map((value) => {
    if (!Number.isFinite(value)) return NaN;
    mean = weight * mean + (1 - weight) * value;
    count += 1;
    return mean / (1 - weight ** count);
  });
}

/** Charts of a job: series that are looked at together, in the order in which people look. */
export function groups(names: readonly string[], titleOf = groupOf): [string, string[]][] {
  const found = new Map<string, string[]>();
  for (const name of names) {
    const title = titleOf(name);
    found.set(title, [...(found.get(title) ?? []), name]);
  }
  return [...found.entries()].sort(([left], [right]) => rank(left) - rank(right) || left.localeCompare(right));
}

/** Titles that have words of their own in every language (`group.…`). */
const ORDER = ["loss", "quality", "learning rate"];

function rank(title: string): number {
  const place = ORDER.indexOf(title);
  return place === -1 ? ORDER.length : place;
}

function groupOf(name: string): string {
  const key = name.slice(name.indexOf("/") + 1).toLowerCase();
  if (/loss|error/.test(key)) return "loss";
  if (/map|precision|recall|accuracy|f1|top\d|auc|iou/.test(key)) return "quality";
  if (/^lr\b|\blr|learning.?rate/.test(key)) return "learning rate";
  return key;
}

/** Series that are shown first: a framework's raw keys repeat what the canonical names say. */
export function shownFirst(names: readonly string[]): string[] {
  return names.filter((name) => name.split("/").length === 2);
}

export function csv(series: ReadonlyMap<string, Points>): string {
  const rows = ["name,epoch,step,time,value"];
  for (const [name, points] of series) {
    points.values.forEach((value, place) => {
      const time = new Date((points.times[place] ?? 0) * 1000).toISOString();
      rows.push(`"${name.replaceAll('"', '""')}",${points.epochs[place] ?? ""},${points.steps[place] ?? ""},${time},${value}`);
    });
  }
  return `${rows.join("\r\n")}\r\n`;
}
