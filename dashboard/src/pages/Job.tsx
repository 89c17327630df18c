/** One job, live. */

import { useState } from "preact/hooks";
import { useRoute } from "preact-iso";

import type { Job } from "../api/types";
import { Document, Facts, Failure, Loading, Panel, Progress, Status } from "../components/parts";
import { Actions } from "../job/Actions";
import { Charts } from "../job/Charts";
import { Artifacts, Checkpoints } from "../job/Files";
import { Logs } from "../job/Logs";
import { Machine } from "../job/Machine";
import { Timeline } from "../job/Timeline";
import { useJob } from "../job/useJob";
import { t } from "../text";
import { formatDuration, formatNumber, formatTime } from "../text/format";

const TABS = ["overview", "logs", "checkpoints", "artifacts", "system", "events", "config"] as const;
type Tab = (typeof TABS)[number];

export function JobPage() {
  const { params } = useRoute();
  const id = Number(params["id"]);
  // Another job is another page: nothing of the one before may shine through.
  return <JobView key={id} id={id} />;
}

function JobView({ id }: { id: number }) {
  const followed = useJob(id);
  const [tab, setTab] = useState<Tab>("overview");
  const { job, connection, news } = followed;
  if (followed.gone !== null) return <p role="alert">{t("job.gone", { id })}</p>;
  if (job === null) return followed.error ? <Failure error={followed.error} again={followed.reload} /> : <Loading />;
  return (
    <>
      <div class="title">
        <h1>{job.name ?? `#${job.id}`}</h1>
        <Status status={job.status} state={job.state} />
        <span class={`connection ${connection}`} role="status">
          {t(`state.${connection}`)}
        </span>
        <Actions job={job} changed={followed.reload} />
      </div>
      {job.description && <p>{job.description}</p>}
      <Facts
        of={[
          [t("column.progress"), <Progress job={job} />],
          [t("job.eta"), formatDuration(job.status === "running" ? job.eta_seconds : null)],
          [t("job.best"), job.best_metric === null ? "–" : `${formatNumber(job.best_metric)} (${job.best_metric_name})`],
          [t("column.model"), `${job.model_name ?? "–"} · ${job.framework ?? "–"}`],
          [t("job.attempt"), String(job.attempt)],
          [t("column.created"), formatTime(job.created_at)],
          ...(job.integrity === null ? [] : [[t("job.integrity"), job.integrity] as [string, string]]),
        ]}
      />
      <Notice job={job} />
      <div class="tabs" role="tablist" aria-label={job.name ?? String(job.id)}>
        {TABS.map((one) => (
          <button
            key={one}
            type="button"
            role="tab"
            id={`tab-${one}`}
            aria-selected={tab === one}
            aria-controls="tab-panel"
            tabIndex={tab === one ? 0 : -1}
            onClick={() => setTab(one)}
            onKeyDown={(event) => moved(event, tab, setTab)}
          >
            {t(`job.${one}`)}
          </button>
        ))}
      </div>
      <div id="tab-panel" role="tabpanel" aria-labelledby={`tab-${tab}`}>
        {tab === "overview" && <Charts series={followed.series} totals={followed.totals} syncKey={`job-${id}`} />}
        {tab === "logs" && <Logs jobId={id} live={followed.lines} />}
        {tab === "checkpoints" && <Checkpoints jobId={id} news={news} />}
        {tab === "artifacts" && <Artifacts jobId={id} news={news} />}
        {tab === "system" && <Machine jobId={id} news={news} />}
        {tab === "events" && <Timeline jobId={id} news={news} />}
        {tab === "config" && (
          <>
            <Panel title={t("new.basic")}>
              <Document of={job.config} />
            </Panel>
            <Panel title={t("new.advanced")}>
              <Document of={job.advanced_config ?? {}} />
            </Panel>
          </>
        )}
      </div>
    </>
  );
}

/** Arrow keys go from tab to tab, as the pattern for tabs of the ARIA Authoring Practices says. */
function moved(event: KeyboardEvent, tab: Tab, setTab: (tab: Tab) => void) {
  const by = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
  if (by === undefined) return;
  const next = TABS[(TABS.indexOf(tab) + by + TABS.length) % TABS.length] ?? tab;
  setTab(next);
  document.getElementById(`tab-${next}`)?.focus();
}

function Notice({ job }: { job: Job }) {
  if (job.status === "failed") {
    const advice = t(`advice.${job.error_code ?? "UNKNOWN"}`);
    return (
      <div class="failure" role="alert">
        <strong>{job.error_code ?? "UNKNOWN"}</strong>
        <p>{job.error_message}</p>
        <p>
          <b>{t("job.advice")}:</b> {advice.startsWith("advice.") ? t("advice.UNKNOWN") : advice}
          {job.awaits_retry && ` ${t("job.retrying")}`}
        </p>
      </div>
    );
  }
  if (job.early_stopping !== null) {
    return (
      <p class="notice">
        <b>{t("job.early")}:</b> {job.early_stopping.rule} – {job.early_stopping.reason}
      </p>
    );
  }
  if (job.stop_requested_at !== null && job.status === "running") {
    return <p class="notice">{t("job.asked", { time: formatTime(job.stop_requested_at) })}</p>;
  }
  return null;
}
