/** The job as it was at a moment of the log: the same parts, filled with what was known then. */

import { useMemo } from "preact/hooks";

import { ApiError, get } from "../api/client";
import type { Checkpoint, Job, LogPage, Series } from "../api/types";
import { fromAnswer } from "../charts/points";
import { Failure, Loading, Panel, useLoaded, useRested } from "../components/parts";
import { t } from "../text";
import { formatTime } from "../text/format";
import { Charts } from "./Charts";
import { Summary } from "./Summary";
import { Lines } from "./Logs";

const POINTS_MAX = 1_000;
const LINES_MAX = 500;
/** Steps of the slider: finer than anybody can point. */
const STEPS = 1_000;

interface Known {
  job: Job;
  series: Series[];
  logs: LogPage;
  checkpoints: Checkpoint[];
}

export function TimeSlider({ job, moment, choose }: { job: Job; moment: number | null; choose: (moment: number | null) => void }) {
  const first = Date.parse(job.created_at ?? new Date().toISOString());
  const last = job.completed_at === null ? Date.now() : Date.parse(job.completed_at);
  const place = moment === null ? STEPS : Math.round(((moment - first) / Math.max(1, last - first)) * STEPS);
  const said = moment === null ? t("past.now") : formatTime(new Date(moment).toISOString());
  return (
    <label class="slider">
      {t("past.moment")}
      <input
        type="range"
        min="0"
        max={STEPS}
        value={place}
        aria-valuetext={said}
        onInput={(event) => {
          const at = Number(event.currentTarget.value);
          choose(at === STEPS ? null : first + ((last - first) * at) / STEPS);
        }}
      />
      <output>{said}</output>
    </label>
  );
}

export function Past({ id, moment, back }: { id: number; moment: number; back: () => void }) {
  const rested = useRested(new Date(moment).toISOString());
  const { data, error } = useLoaded(`${id}|${rested}`, (signal) => known(id, rested, signal));
  const series = useMemo(() => new Map((data?.series ?? []).map((one) => [one.name, fromAnswer(one)])), [data]);
  const before = error instanceof ApiError && error.status === 404;
  return (
    <>
      <p class="notice" role="status">
        {before ? t("past.before") : t("past.shown", { time: formatTime(rested) })}{" "}
        <button type="button" onClick={back}>
          {t("past.back")}
        </button>
      </p>
      {error && !before && <Failure error={error} />}
      {data === null && error === null && <Loading />}
      {data !== null && error === null && (
        <>
          <Summary job={data.job} />
          <Charts series={series} syncKey={`past-${id}`} />
          <Panel title={t("job.logs")}>
            {data.logs.logs.length === 0 ? <p class="quiet">{t("log.none")}</p> : <Lines lines={data.logs.logs} follow={true} stopFollowing={() => undefined} />}
          </Panel>
        </>
      )}
    </>
  );
}

async function known(id: number, as_of: string, signal: AbortSignal): Promise<Known> {
  const path = `/training/jobs/${id}`;
  const [job, answer, found, files] = await Promise.all([
    get<Job>(path, { as_of }, signal),
    get<{ series: Series[] }>(`${path}/metrics/series`, { as_of, max_points: POINTS_MAX }, signal),
    get<LogPage>(`${path}/logs`, { as_of, limit: 1 }, signal),
    get<{ checkpoints: Checkpoint[] }>(`${path}/checkpoints`, { as_of, limit: 1000 }, signal),
  ]);
  const offset = Math.max(0, found.total - LINES_MAX);
  const logs = await get<LogPage>(`${path}/logs`, { as_of, limit: LINES_MAX, offset }, signal);
  return { job, series: answer.series, logs, checkpoints: files.checkpoints };
}
