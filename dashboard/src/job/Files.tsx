/** What the run left in the store: checkpoints, plots and other files. */

import { get } from "../api/client";
import type { Artifact, Checkpoint } from "../api/types";
import { Failure, Loading, useLoaded } from "../components/parts";
import { t } from "../text";
import { formatBytes, formatNumber, formatTime } from "../text/format";
import { number } from "../charts/points";

const SHOWN_METRICS = 3;

export function Checkpoints({ jobId, news }: { jobId: number; news: number }) {
  const { data, error, reload } = useLoaded(`${jobId}|${news}`, (signal) =>
    get<{ checkpoints: Checkpoint[] }>(`/training/jobs/${jobId}/checkpoints`, { limit: 1000 }, signal),
  );
  if (error) return <Failure error={error} again={reload} />;
  if (data === null) return <Loading />;
  if (data.checkpoints.length === 0) return <p class="quiet">{t("checkpoint.none")}</p>;
  const latest = data.checkpoints.at(-1)?.id;
  const best = data.checkpoints.filter((one) => one.is_best).at(-1)?.id;
  return (
    <div class="scroll" tabIndex={0} role="region" aria-label={t("job.checkpoints")}>
      <table class="list">
        <thead>
          <tr>
            <th scope="col">{t("job.epoch")}</th>
            <th scope="col">{t("column.metrics")}</th>
            <th scope="col">{t("column.size")}</th>
            <th scope="col">{t("column.saved")}</th>
            <th scope="col">{t("checkpoint.download")}</th>
          </tr>
        </thead>
        <tbody>
          {[...data.checkpoints].reverse().map((one) => (
            <tr key={one.id}>
              <th scope="row">
                {one.epoch ?? "–"} {one.id === best && <span class="tag">{t("checkpoint.best")}</span>}
                {one.id === latest && <span class="tag">{t("checkpoint.latest")}</span>}
              </th>
              <td>
                {Object.entries(one.metrics ?? {})
                  .slice(0, SHOWN_METRICS)
                  .map(([name, value]) => `${name} ${formatNumber(number(value))}`)
                  .join(", ") || "–"}
              </td>
              <td>{formatBytes(one.file_size_bytes)}</td>
              <td>{formatTime(one.saved_at)}</td>
              <td>
                <a href={one.content_url} download={one.checkpoint_path.split("/").at(-1)}>
                  {one.checkpoint_path.split("/").at(-1)}
                </a>
              </td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

export function Artifacts({ jobId, news }: { jobId: number; news: number }) {
  const { data, error, reload } = useLoaded(`${jobId}|${news}`, (signal) =>
    get<{ artifacts: Artifact[] }>(`/training/jobs/${jobId}/artifacts`, { limit: 1000 }, signal),
  );
  if (error) return <Failure error={error} again={reload} />;
  if (data === null) return <Loading />;
  if (data.artifacts.length === 0) return <p class="quiet">{t("artifact.none")}</p>;
  return (
    <ul class="gallery">
      {data.artifacts.map((one) => (
        <li key={one.id}>
          <a href={one.content_url} download={one.name}>
            {one.content_type?.startsWith("image/") && <img src={one.content_url} alt={one.name} loading="lazy" />}
            <span>{one.name}</span>
          </a>
          <span class="quiet">
            {one.kind} · {formatBytes(one.file_size_bytes)}
          </span>
        </li>
      ))}
    </ul>
  );
}
