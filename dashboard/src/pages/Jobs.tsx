/** All jobs: found, sorted, live. */

import { useEffect, useRef, useState } from "preact/hooks";
import { useLocation } from "preact-iso";

import { get } from "../api/client";
import { LiveJob, type Connection } from "../api/live";
import type { Job, JobList, JobStatus, Series } from "../api/types";
import { number } from "../charts/points";
import { Sparkline } from "../charts/Sparkline";
import { Failure, Loading, Progress, Status, useLoaded, useRested } from "../components/parts";
import { t, word } from "../text";
import { formatNumber, formatTime } from "../text/format";

const PAGE_SIZE = 50;
const STATUSES: JobStatus[] = ["pending", "running", "completed", "stopped", "failed"];
const SORTS: [string, string][] = [
  ["-created", "jobs.newest"],
  ["created", "jobs.oldest"],
  ["-best_metric", "jobs.best"],
  ["name", "jobs.name"],
];
const REFRESH_MS = 1_000;

export function JobsPage() {
  const { route } = useLocation();
  const [search, setSearch] = useState("");
  const [status, setStatus] = useState("");
  const [sort, setSort] = useState("-created");
  const [limit, setLimit] = useState(PAGE_SIZE);
  const [chosen, setChosen] = useState<ReadonlySet<number>>(new Set());
  const words = useRested(search);
  const key = JSON.stringify([words, status, sort, limit]);
  const { data, error, reload } = useLoaded(key, (signal) =>
    get<JobList>("/training/jobs", { search: words, status, sort, limit }, signal),
  );
  const connection = useNews(reload);

  function choose(id: number, wanted: boolean) {
    const next = new Set(chosen);
    if (wanted) next.add(id);
    else next.delete(id);
    setChosen(next);
  }

  return (
    <>
      <div class="title">
        <h1>{t("nav.jobs")}</h1>
        <span class={`connection ${connection}`} role="status">
          {t(`state.${connection}`)}
        </span>
      </div>
      <form class="filters" role="search" onSubmit={(event) => event.preventDefault()}>
        <input
          type="search"
          aria-label={t("jobs.search")}
          placeholder={t("jobs.search")}
          value={search}
          onInput={(event) => setSearch(event.currentTarget.value)}
        />
        <label>
          {t("jobs.status")}
          <select value={status} onChange={(event) => setStatus(event.currentTarget.value)}>
            <option value="">{t("jobs.any")}</option>
            {STATUSES.map((one) => (
              <option key={one} value={one}>
                {word("status", one)}
              </option>
            ))}
          </select>
        </label>
        <label>
          {t("jobs.sort")}
          <select value={sort} onChange={(event) => setSort(event.currentTarget.value)}>
            {SORTS.map(([value, name]) => (
              <option key={value} value={value}>
                {t(name)}
              </option>
            ))}
          </select>
        </label>
        <button type="button" disabled={chosen.size < 2} onClick={() => route(`/compare?jobs=${[...chosen].join(",")}`)}>
          {t("jobs.compare", { count: chosen.size })}
        </button>
      </form>
      {error && <Failure error={error} again={reload} />}
      {data === null && error === null && <Loading />}
      {data !== null && data.jobs.length === 0 && (
        <p class="quiet">
          {t("jobs.empty")}
          <a href="/new">{t("jobs.create")}</a>
        </p>
      )}
      {data !== null && data.jobs.length > 0 && (
        <>
          <div class="scroll" tabIndex={0} role="region" aria-label={t("nav.jobs")}>
            <table class="list">
              <thead>
                <tr>
                  <th scope="col">{t("column.choose")}</th>
                  <th scope="col">{t("column.name")}</th>
                  <th scope="col">{t("column.status")}</th>
                  <th scope="col">{t("column.progress")}</th>
                  <th scope="col">{t("column.best")}</th>
                  <th scope="col">{t("column.model")}</th>
                  <th scope="col">{t("column.created")}</th>
                </tr>
              </thead>
              <tbody>
                {data.jobs.map((job) => (
                  <Row key={job.id} job={job} chosen={chosen.has(job.id)} choose={choose} />
                ))}
              </tbody>
            </table>
          </div>
          <p class="quiet">
            {t("jobs.total", { shown: data.jobs.length, total: data.total })}{" "}
            {data.jobs.length < data.total && (
              <button type="button" class="quiet" onClick={() => setLimit(limit + PAGE_SIZE)}>
                {t("jobs.more")}
              </button>
            )}
          </p>
        </>
      )}
    </>
  );
}

/** Reload when something happened, at most once a second. */
function useNews(reload: () => void): Connection {
  const [connection, setConnection] = useState<Connection>("connecting");
  const latest = useRef(reload);
  latest.current = reload;
  useEffect(() => {
    let waiting: number | undefined;
    const soon = () => {
      waiting ??= window.setTimeout(() => {
        waiting = undefined;
        latest.current();
      }, REFRESH_MS);
    };
    const live = new LiveJob(null, {
      frame: (frame) => frame.type !== "log" && soon(),
      connection: (state) => {
        setConnection(state);
        // What happened while nobody listened is in the list.
        if (state === "open") soon();
      },
      gone: () => undefined,
    });
    return () => {
      live.close();
      window.clearTimeout(waiting);
    };
  }, []);
  return connection;
}

function Row({ job, chosen, choose }: { job: Job; chosen: boolean; choose: (id: number, wanted: boolean) => void }) {
  const name = job.name ?? `#${job.id}`;
  return (
    <tr>
      <td>
        <input
          type="checkbox"
          aria-label={`${t("column.choose")} ${name}`}
          checked={chosen}
          onChange={(event) => choose(job.id, event.currentTarget.checked)}
        />
      </td>
      <th scope="row">
        <a href={`/jobs/${job.id}`}>{name}</a>
        <span class="quiet"> #{job.id}</span>
        {job.tags.map((tag) => (
          <span key={tag} class="tag">
            {tag}
          </span>
        ))}
      </th>
      <td>
        <Status status={job.status} state={job.state} />
      </td>
      <td>
        <Progress job={job} />
      </td>
      <td class="best">
        <Best job={job} />
      </td>
      <td>
        {job.model_name} <span class="quiet">{job.framework}</span>
      </td>
      <td>{formatTime(job.created_at)}</td>
    </tr>
  );
}

function Best({ job }: { job: Job }) {
  const name = job.best_metric_name;
  const { data } = useLoaded(name === null ? null : `${job.id}|${name}|${job.current_epoch}|${job.status}`, (signal) =>
    get<{ series: Series[] }>(`/training/jobs/${job.id}/metrics/series`, { names: name, max_points: 50 }, signal),
  );
  if (name === null) return <span class="quiet">–</span>;
  const values = data?.series[0]?.values.map(number) ?? [];
  return (
    <>
      <Sparkline values={values} label={`${name}: ${formatNumber(job.best_metric)}`} />
      <span title={name}>{formatNumber(job.best_metric)}</span>
    </>
  );
}
