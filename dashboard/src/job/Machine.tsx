/** Processor, memory and GPUs while the run went on. */

import { useMemo } from "preact/hooks";

import { get } from "../api/client";
import type { SystemSeries } from "../api/types";
import { Chart } from "../charts/Chart";
import { palette } from "../charts/colors";
import type { Points } from "../charts/points";
import { Failure, Loading, useLoaded } from "../components/parts";
import { t } from "../text";

const POINTS_MAX = 1_000;

export function Machine({ jobId, news }: { jobId: number; news: number }) {
  const { data, error, reload } = useLoaded(`${jobId}|${news}`, (signal) =>
    get<{ series: SystemSeries[] }>(`/training/jobs/${jobId}/system`, { max_points: POINTS_MAX }, signal),
  );
  const parts = useMemo(() => grouped(data?.series ?? []), [data]);
  if (error) return <Failure error={error} again={reload} />;
  if (data === null) return <Loading />;
  if (parts.length === 0) return <p class="quiet">{t("chart.none")}</p>;
  const colorOf = palette(parts.flatMap(([, members]) => [...members.keys()]));
  return (
    <div class="charts">
      {parts.map(([title, members]) => (
        <Chart
          key={title}
          title={title}
          series={members}
          epochSteps={new Map()}
          options={{ axis: "time", logScale: false, smoothing: 0 }}
          syncKey={`machine-${jobId}`}
          colorOf={colorOf}
        />
      ))}
    </div>
  );
}

function grouped(series: SystemSeries[]): [string, Map<string, Points>][] {
  const found = new Map<string, Map<string, Points>>();
  for (const one of series) {
    const members = found.get(one.name) ?? new Map<string, Points>();
    const label = `${one.name} rank ${one.rank}${one.gpu === null ? "" : ` GPU ${one.gpu}`}`;
    const none = one.times.map(() => null);
    members.set(label, { steps: none, epochs: none, times: one.times, values: one.values });
    found.set(one.name, members);
  }
  return [...found.entries()];
}
