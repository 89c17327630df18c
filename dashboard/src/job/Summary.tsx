/** What a job is, in a line, and what it has to say: an error with its advice, a stop that was asked for. */

import type { ComponentChildren } from "preact";

import type { Job } from "../api/types";
import { Facts, Progress, Status } from "../components/parts";
import { t } from "../text";
import { Verdict } from "./IntegrityTable";
import { formatDuration, formatNumber, formatTime } from "../text/format";

export function Summary({ job }: { job: Job }) {
  return (
    <>
      <Facts
        of={[
          [t("column.status"), <Status status={job.status} state={job.state} />],
          [t("column.progress"), <Progress job={job} />],
          [t("job.eta"), formatDuration(job.status === "running" ? job.eta_seconds : null)],
          [t("job.best"), job.best_metric === null ? "–" : `${formatNumber(job.best_metric)} (${job.best_metric_name})`],
          [t("column.model"), `${job.model_name ?? "–"} · ${job.framework ?? "–"}`],
          [t("job.attempt"), String(job.attempt)],
          [t("column.created"), formatTime(job.created_at)],
          ...(job.integrity === null ? [] : [[t("job.integrity"), <Verdict of={job.integrity} />] as [string, ComponentChildren]]),
        ]}
      />
      <Notice job={job} />
    </>
  );
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
