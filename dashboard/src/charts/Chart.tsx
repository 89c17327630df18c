/** One chart: series of a job (or of several) along one axis, drawn by uPlot. */

import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";

import { t, word } from "../text";
import { formatNumber, formatSpan } from "../text/format";
import { along, csv, position, smoothed, type Axis, type Points } from "./points";

export interface ChartOptions {
  axis: Axis;
  logScale: boolean;
  /** 0 draws what was reported, up to 0.99. */
  smoothing: number;
}

export interface ChartProps {
  title: string;
  series: ReadonlyMap<string, Points>;
  epochSteps: Map<number, number>;
  options: ChartOptions;
  /** Charts of one key move their cursors together. */
  syncKey: string;
  colorOf: (name: string) => string;
  /** More points of a part, where the server sampled; by Unix seconds. */
  closer?: ((names: string[], since: number, until: number) => Promise<Map<string, Points>>) | undefined;
}

/** So much more than what is looked at is fetched, for the lines that lead out of it. */
const MARGIN = 0.05;
const ZOOM_RESTS_MS = 200;
const HEIGHT_PX = 240;

export function Chart({ title, series: whole, epochSteps, options, syncKey, colorOf, closer }: ChartProps) {
  const holder = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | null>(null);
  const looksAtPart = useRef(false);
  const resting = useRef<number | undefined>(undefined);
  const latest = useRef({ whole, closer, epochSteps, axis: options.axis });
  latest.current = { whole, closer, epochSteps, axis: options.axis };
  const [part, setPart] = useState<Map<string, Points> | null>(null);
  const series = part ?? whole;
  const names = [...whole.keys()];
  const layout = [names.join("\n"), options.axis, options.logScale, options.smoothing > 0].join("|");
  const data = useMemo(
    () => aligned(series, options, epochSteps),
    [series, options.axis, options.smoothing, epochSteps, options.logScale],
  );

  // uPlot draws what it was made with: another set of lines or another axis needs another one.
  useEffect(() => {
    const element = holder.current;
    if (element === null) return;
    setPart(null);
    const made = new uPlot(settings(names, options, syncKey, colorOf, element.clientWidth, zoomed), data, element);
    plot.current = made;
    const watcher = new ResizeObserver(() => made.setSize({ width: element.clientWidth, height: HEIGHT_PX }));
    watcher.observe(element);
    return () => {
      watcher.disconnect();
      made.destroy();
      plot.current = null;
    };
  }, [layout]);

  useEffect(() => {
    const shown = plot.current;
    if (shown === null) return;
    // Whoever looks at a part goes on looking at it while points come.
    const { min, max } = shown.scales["x"] ?? {};
    shown.setData(data, !looksAtPart.current);
    if (looksAtPart.current && min != null && max != null) shown.setScale("x", { min, max });
  }, [data]);

  /** Drawn is what is known; a moment later what the server knows of this part. */
  function zoomed(min: number | null, max: number | null) {
    looksAtPart.current = min !== null;
    window.clearTimeout(resting.current);
    if (min === null || max === null) {
      setPart(null);
      return;
    }
    const now = latest.current;
    if (now.closer === undefined) return;
    const times = timesWithin(now.whole, now.axis, now.epochSteps, min, max);
    if (times === null) return;
    const { closer: fetchCloser } = now;
    const margin = (times[1] - times[0]) * MARGIN + 1e-3;
    resting.current = window.setTimeout(() => {
      // What was drawn stays where the server does not answer.
      fetchCloser(names, times[0] - margin, times[1] + margin).then((found) => looksAtPart.current && setPart(found), () => undefined);
    }, ZOOM_RESTS_MS);
  }

  const last = names.map((name) => `${name} ${formatNumber(series.get(name)?.values.at(-1) ?? NaN)}`).join(", ");
  return (
    <figure class="chart" aria-label={`${title}: ${last}`}>
      <figcaption>
        <h3>{word("group", title)}</h3>
        <span class="actions">
          <button type="button" class="quiet" onClick={() => savePng(plot.current, title)}>
            PNG
          </button>
          <button type="button" class="quiet" onClick={() => saveText(csv(series), `${title}.csv`)}>
            CSV
          </button>
        </span>
      </figcaption>
      <div ref={holder} class="plot" title={t("chart.zoom")} />
    </figure>
  );
}

function aligned(series: ReadonlyMap<string, Points>, options: ChartOptions, epochSteps: Map<number, number>) {
  const tables = [...series.values()].map((points) => {
    const [xs, ys] = along(points, options.axis, epochSteps);
    const raw = options.logScale ? ys.map((y) => (y > 0 ? y : NaN)) : ys;
    // null is a hole to uPlot, undefined a point that another line has.
    const holes = (values: number[]) => values.map((value) => (Number.isFinite(value) ? value : null));
    const lines: (number | null)[][] = [holes(smoothed(raw, options.smoothing))];
    if (options.smoothing > 0) lines.push(holes(raw));
    return [xs, ...lines] as unknown as uPlot.AlignedData;
  });
  return tables.length === 0 ? ([[]] as unknown as uPlot.AlignedData) : uPlot.join(tables);
}

function settings(
  names: string[],
  options: ChartOptions,
  syncKey: string,
  colorOf: (name: string) => string,
  width: number,
  zoomed: (min: number | null, max: number | null) => void,
): uPlot.Options {
  const style = getComputedStyle(document.documentElement);
  const ink = style.getPropertyValue("--ink-quiet").trim();
  const grid = { stroke: style.getPropertyValue("--line").trim(), width: 1 };
  const axis = { stroke: ink, grid, ticks: grid, font: "11px system-ui, sans-serif" };
  const lines = names.flatMap((name): uPlot.Series[] => {
    const color = colorOf(name);
    const value = (_: uPlot, found: number | null) => (found === null ? "–" : formatNumber(found));
    const line: uPlot.Series = { label: name, stroke: color, width: 1.6, spanGaps: false, value };
    if (options.smoothing === 0) return [line];
    return [line, { label: `${name} (${t("chart.raw")})`, stroke: `${color}55`, width: 1, spanGaps: false, value }];
  });
  const time = options.axis === "time";
  return {
    width,
    height: HEIGHT_PX,
    cursor: { sync: { key: syncKey }, drag: { x: true, y: false, uni: 20 } },
    legend: { live: true },
    hooks: {
      setSelect: [
        (plot) => {
          const { left, width: selected } = plot.select;
          if (selected > 0) zoomed(plot.posToVal(left, "x"), plot.posToVal(left + selected, "x"));
        },
      ],
      ready: [(plot) => plot.over.addEventListener("dblclick", () => zoomed(null, null))],
    },
    scales: { x: { time }, y: { distr: options.logScale ? 3 : 1 } },
    axes: [axis, { ...axis, size: 62, values: (_: uPlot, ticks: number[]) => ticks.map((tick) => (tick == null ? "" : formatNumber(tick))) }],
    series: [{ label: t(`axis.${options.axis}`), value: (_: uPlot, x: number | null) => (x === null ? "–" : time ? formatSpan(x) : formatNumber(x)) }, ...lines],
  };
}

/** When the points that lie between two places of the axis were measured: first and last. */
function timesWithin(
  series: ReadonlyMap<string, Points>,
  axis: Axis,
  epochSteps: Map<number, number>,
  min: number,
  max: number,
): [number, number] | null {
  if (axis === "time") return [min, max];
  let since = Infinity;
  let until = -Infinity;
  for (const points of series.values()) {
    points.times.forEach((time, place) => {
      const x = position(points, place, axis, epochSteps);
      if (x === null || x < min || x > max) return;
      since = Math.min(since, time);
      until = Math.max(until, time);
    });
  }
  return since <= until ? [since, until] : null;
}

function savePng(plot: uPlot | null, title: string): void {
  if (plot === null) return;
  const drawn = plot.ctx.canvas;
  const copy = document.createElement("canvas");
  copy.width = drawn.width;
  copy.height = drawn.height;
  const pen = copy.getContext("2d");
  if (pen === null) return;
  // A picture without a background is unreadable in half of all viewers.
  pen.fillStyle = getComputedStyle(document.documentElement).getPropertyValue("--page").trim();
  pen.fillRect(0, 0, copy.width, copy.height);
  pen.drawImage(drawn, 0, 0);
  copy.toBlob((blob) => blob !== null && saveBlob(blob, `${title}.png`));
}

function saveText(text: string, name: string): void {
  saveBlob(new Blob([text], { type: "text/csv" }), name);
}

function saveBlob(blob: Blob, name: string): void {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name.replaceAll("/", "-");
  link.click();
  URL.revokeObjectURL(link.href);
}
