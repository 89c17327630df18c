/** Whether all of the run is there, proved number by number: sent, in the log, applied. */

import { get } from "../api/client";
import type { Integrity, IntegrityAnswer, IntegrityLine } from "../api/types";
import { Failure, Loading, useLoaded } from "../components/parts";
import { t, word } from "../text";
import { formatNumber } from "../text/format";

const LOOKS: Record<Integrity, string> = {
  complete: "completed",
  pending: "running",
  incomplete: "failed",
  "not provable": "stopped",
};

export function Verdict({ of: verdict }: { of: Integrity }) {
  return <span class={`status ${LOOKS[verdict]}`}>{word("integrity", verdict)}</span>;
}

export function IntegrityTable({ jobId, news }: { jobId: number; news: number }) {
  const { data, error, reload } = useLoaded(`${jobId}|${news}`, (signal) => get<IntegrityAnswer>(`/training/jobs/${jobId}/integrity`, {}, signal));
  if (error) return <Failure error={error} again={reload} />;
  if (data === null) return <Loading />;
  return (
    <>
      <p>
        <Verdict of={data.integrity} /> <span class="quiet">{t(`integrity.${data.integrity}.means`)}</span>
      </p>
      <div class="scroll" tabIndex={0} role="region" aria-label={t("job.integrity")}>
        <table class="list">
          <thead>
            <tr>
              <th scope="col">{t("job.attempt")}</th>
              <th scope="col">{t("integrity.sender")}</th>
              <th scope="col">{t("integrity.topic")}</th>
              <th scope="col">{t("integrity.sent")}</th>
              <th scope="col">{t("integrity.in_log")}</th>
              <th scope="col">{t("integrity.applied")}</th>
              <th scope="col">{t("integrity.missing")}</th>
              <th scope="col">{t("job.integrity")}</th>
            </tr>
          </thead>
          <tbody>
            {data.attempts.flatMap((attempt) => attempt.lines.map((line) => <Line key={line.session + line.topic} attempt={attempt.attempt} line={line} />))}
          </tbody>
        </table>
      </div>
    </>
  );
}

function Line({ attempt, line }: { attempt: number | null; line: IntegrityLine }) {
  const gaps = line.missing.map(([low, high]) => (low === high ? String(low) : `${low}–${high}`)).join(", ");
  const dropped = line.dropped.map((one) => `${one.count} (${one.reason})`).join(", ");
  return (
    <tr>
      <td>{attempt ?? "–"}</td>
      <th scope="row" title={line.session}>
        {line.sender ?? "–"} {line.rank !== null && line.rank > 0 && `rank ${line.rank}`}
      </th>
      <td>{line.topic.replace("training.", "")}</td>
      <td>{formatNumber(line.sent)}</td>
      <td>{formatNumber(line.in_log)}</td>
      <td>{line.read_models.map((one) => `${one.read_model} ${formatNumber(one.applied)}`).join(", ")}</td>
      <td>{[gaps, dropped].filter(Boolean).join(" · ") || "–"}</td>
      <td title={line.reasons.join("; ")}>
        <Verdict of={line.verdict} />
      </td>
    </tr>
  );
}
