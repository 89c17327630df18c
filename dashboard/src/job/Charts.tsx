/** The job's metrics as charts, with one set of controls for all of them. */

import { useMemo, useState } from "preact/hooks";

import { Chart } from "../charts/Chart";
import { palette } from "../charts/colors";
import { groups, lastSteps, shownFirst, type Axis, type Points } from "../charts/points";
import { t } from "../text";
import { formatNumber } from "../text/format";

const AXES: Axis[] = ["step", "epoch", "time"];

export interface ChartsProps {
  series: ReadonlyMap<string, Points>;
  totals?: ReadonlyMap<string, { total: number; sampled: boolean }>;
  syncKey: string;
  /** More points of a part: for series that the server sampled. */
  closer?: (names: string[], since: number, until: number) => Promise<Map<string, Points>>;
  first?: Axis;
  /** The title of a series' chart, and what its colour tells apart; by default what `groups` says, and its name. */
  groupOf?: (name: string) => string;
  kindOf?: (name: string) => string;
}

export function Charts({ series, totals, syncKey, closer, first = "step", groupOf, kindOf = (name) => name }: ChartsProps) {
  const [axis, setAxis] = useState<Axis>(first);
  const [smoothing, setSmoothing] = useState(0);
  const [logScale, setLogScale] = useState(false);
  const [allKeys, setAllKeys] = useState(false);
  const names = [...series.keys()].sort();
  const shown = allKeys ? names : shownFirst(names);
  const colorOf = useMemo(() => {
    const colorOfKind = palette([...new Set(names.map(kindOf))]);
    return (name: string) => colorOfKind(kindOf(name));
  }, [names.join("\n")]);
  const epochSteps = useMemo(() => lastSteps(series.values()), [series]);
  const parts = useMemo(
    () => groups(shown, groupOf).map(([title, members]) => [title, new Map(members.map((name) => [name, series.get(name) as Points]))] as const),
    [series, shown.join("\n")],
  );
  if (names.length === 0) return <p class="quiet">{t("chart.none")}</p>;
  const sampled = [...(totals?.entries() ?? [])].filter(([, one]) => one.sampled);
  const drawn = sampled.reduce((sum, [name]) => sum + (series.get(name)?.values.length ?? 0), 0);
  const total = sampled.reduce((sum, [, one]) => sum + one.total, 0);
  return (
    <>
      <div class="filters">
        <label>
          {t("chart.axis")}
          <select value={axis} onChange={(event) => setAxis(event.currentTarget.value as Axis)}>
            {AXES.map((one) => (
              <option key={one} value={one}>
                {t(`axis.${one}`)}
              </option>
            ))}
          </select>
        </label>
        <label>
          {t("chart.smoothing")}
          <input
            type="range"
            min="0"
            max="0.99"
            step="0.01"
            value={smoothing}
            onInput={(event) => setSmoothing(Number(event.currentTarget.value))}
          />
        </label>
        <label class="check">
          <input type="checkbox" checked={logScale} onChange={(event) => setLogScale(event.currentTarget.checked)} />
          {t("chart.log")}
        </label>
        {shownFirst(names).length < names.length && (
          <label class="check">
            <input type="checkbox" checked={allKeys} onChange={(event) => setAllKeys(event.currentTarget.checked)} />
            {t("chart.keys")}
          </label>
        )}
      </div>
      {sampled.length > 0 && (
        <p class="quiet">{t("chart.sampled", { shown: formatNumber(drawn), total: formatNumber(total) })}</p>
      )}
      <div class="charts">
        {parts.map(([title, members]) => (
          <Chart
            key={title}
            title={title}
            series={members}
            epochSteps={epochSteps}
            options={{ axis, logScale, smoothing }}
            syncKey={syncKey}
            colorOf={colorOf}
            closer={[...members.keys()].some((name) => totals?.get(name)?.sampled) ? closer : undefined}
          />
        ))}
      </div>
    </>
  );
}
