/** Which version of each read model is live, and how far a rebuild is. */

import { useEffect } from "preact/hooks";

import { get } from "../api/client";
import type { ReadModel } from "../api/types";
import { Failure, Loading, useLoaded } from "../components/parts";
import { t } from "../text";
import { formatBytes, formatDuration, formatNumber, formatTime } from "../text/format";

const REFRESH_MS = 2_000;

export function ReadModels() {
  const { data, error, reload } = useLoaded("read-models", (signal) =>
    get<{ read_models: ReadModel[] }>("/operations/read-models", {}, signal),
  );
  useEffect(() => {
    const timer = window.setInterval(reload, REFRESH_MS);
    return () => window.clearInterval(timer);
  }, []);
  if (data === null) return error ? <Failure error={error} again={reload} /> : <Loading />;
  return (
    <div class="scroll" tabIndex={0} role="region" aria-label={t("builds.title")}>
      <table class="list">
        <thead>
          <tr>
            <th scope="col">{t("column.name")}</th>
            <th scope="col">{t("system.schema")}</th>
            <th scope="col">{t("builds.size")}</th>
            <th scope="col">{t("builds.before")}</th>
            <th scope="col">{t("builds.now")}</th>
            <th scope="col">{t("builds.last")}</th>
          </tr>
        </thead>
        <tbody>
          {data.read_models.map((one) => (
            <tr key={one.read_model}>
              <th scope="row">{one.read_model}</th>
              <td>
                <code>{one.live.schema}</code>
              </td>
              <td>{formatBytes(one.live.bytes)}</td>
              <td>{one.flip_back_to === null ? "–" : <code>{one.flip_back_to.schema}</code>}</td>
              <td>{one.running === null ? "–" : <Running of={one.running} />}</td>
              <td>{one.last === null ? "–" : `${one.last.purpose}: ${one.last.state}, ${formatTime(one.last.ended_at)}`}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

function Running({ of: run }: { of: NonNullable<ReadModel["running"]> }) {
  return (
    <span class="progress">
      {run.purpose}: {run.phase}
      <progress max={Math.max(1, run.events_total)} value={run.events_done} aria-label={run.purpose} />
      {formatNumber(run.events_per_second)}/s · {formatDuration(run.eta_s)}
    </span>
  );
}
