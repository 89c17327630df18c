/** Several jobs beside each other: the same series in one chart, what differs, best values. */

import { useMemo } from "preact/hooks";
import { useLocation } from "preact-iso";

import { get } from "../api/client";
import type { Job, Series } from "../api/types";
import { fromAnswer, type Points } from "../charts/points";
import { Failure, Loading, Panel, Status, useLoaded } from "../components/parts";
import { Charts } from "../job/Charts";
import { t } from "../text";
import { formatNumber } from "../text/format";

const POINTS_MAX = 1_000;
const JOBS_MAX = 10;
/** Between a series and the job that it is of. */
const SEPARATOR = " · ";

interface Compared {
  job: Job;
  series: Series[];
}

export function ComparePage() {
  const { query } = useLocation();
  const ids = (query["jobs"] ?? "").split(",").map(Number).filter(Number.isInteger).filter(Boolean).slice(0, JOBS_MAX);
  const { data, error, reload } = useLoaded(ids.length > 1 ? ids.join(",") : null, (signal) =>
    Promise.all(ids.map((id) => load(id, signal))),
  );
  const series = useMemo(() => overlaid(data ?? []), [data]);
  return (
    <>
      <div class="title">
        <h1>{t("nav.compare")}</h1>
      </div>
      {ids.length < 2 && (
        <p class="quiet">
          {t("compare.none")} <a href="/">{t("nav.jobs")}</a>
        </p>
      )}
      {error && <Failure error={error} again={reload} />}
      {ids.length > 1 && data === null && error === null && <Loading />}
      {data !== null && (
        <>
          <Charts
            series={series}
            syncKey="compare"
            first="epoch"
            groupOf={(name) => name.split(SEPARATOR)[0] ?? name}
            kindOf={(name) => name.split(SEPARATOR)[1] ?? name}
          />
          <Panel title={t("compare.values")}>
            <Values of={data} />
          </Panel>
          <Panel title={t("compare.config")}>
            <Differences jobs={data.map((one) => one.job)} />
          </Panel>
        </>
      )}
    </>
  );
}

async function load(id: number, signal: AbortSignal): Promise<Compared> {
  const [job, answer] = await Promise.all([
    get<Job>(`/training/jobs/${id}`, {}, signal),
    get<{ series: Series[] }>(`/training/jobs/${id}/metrics/series`, { max_points: POINTS_MAX }, signal),
  ]);
  return { job, series: answer.series };
}

/** The series of all jobs: one chart a metric, one colour a job. */
function overlaid(all: Compared[]): Map<string, Points> {
  const found = new Map<string, Points>();
  for (const { job, series } of all) {
    for (const one of series.filter((each) => each.name.split("/").length === 2)) {
      found.set(`${one.name}${SEPARATOR}${job.name ?? ""} #${job.id}`, fromAnswer(one));
    }
  }
  return found;
}

function Head({ jobs, first }: { jobs: Job[]; first: string }) {
  return (
    <thead>
      <tr>
        <th scope="col">{first}</th>
        {jobs.map((job) => (
          <th key={job.id} scope="col">
            <a href={`/jobs/${job.id}`}>{job.name ?? `#${job.id}`}</a> <span class="quiet">#{job.id}</span>
          </th>
        ))}
      </tr>
    </thead>
  );
}

function Values({ of: all }: { of: Compared[] }) {
  const names = [...new Set(all.flatMap(({ series }) => series.map((one) => one.name)))].filter((name) => name.split("/").length === 2).sort();
  return (
    <div class="scroll" tabIndex={0} role="region" aria-label={t("compare.values")}>
      <table class="list">
        <Head jobs={all.map((one) => one.job)} first={t("column.metrics")} />
        <tbody>
          <tr>
            <th scope="row">{t("column.status")}</th>
            {all.map(({ job }) => (
              <td key={job.id}>
                <Status status={job.status} state={job.state} />
              </td>
            ))}
          </tr>
          {names.map((name) => (
            <tr key={name}>
              <th scope="row">{name}</th>
              {all.map(({ job, series }) => (
                <td key={job.id}>{bestAndLast(name, series.find((one) => one.name === name))}</td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

function bestAndLast(name: string, series: Series | undefined): string {
  const values = (series?.values ?? []).filter((value): value is number => typeof value === "number");
  if (values.length === 0) return "–";
  const best = /loss|error/i.test(name) ? Math.min(...values) : Math.max(...values);
  return `${formatNumber(best)} / ${formatNumber(values.at(-1))}`;
}

function Differences({ jobs }: { jobs: Job[] }) {
  const documents = jobs.map(
    (job): Record<string, unknown> => ({
      model: job.model_name,
      framework: job.framework,
      dataset_id: job.dataset_id,
      ...job.config,
      ...job.advanced_config,
    }),
  );
  const keys = [...new Set(documents.flatMap(Object.keys))].sort();
  const differing = keys.filter((key) => new Set(documents.map((one) => JSON.stringify(one[key]))).size > 1);
  if (differing.length === 0) return <p class="quiet">{t("compare.same")}</p>;
  return (
    <div class="scroll" tabIndex={0} role="region" aria-label={t("compare.config")}>
      <table class="list">
        <Head jobs={jobs} first={t("column.name")} />
        <tbody>
          {differing.map((key) => (
            <tr key={key}>
              <th scope="row">{key}</th>
              {documents.map((one, place) => (
                <td key={jobs[place]?.id}>
                  <code>{one[key] === undefined ? "–" : JSON.stringify(one[key])}</code>
                </td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}
