/** How the service itself is doing. */

import { useEffect } from "preact/hooks";

import { look } from "../api/client";
import type { Readiness } from "../api/types";
import { DeadLetters } from "../system/DeadLetters";
import { ReadModels } from "../system/ReadModels";
import { Failure, Loading, Panel, useLoaded } from "../components/parts";
import { t } from "../text";
import { formatDuration, formatNumber } from "../text/format";

const REFRESH_MS = 3_000;

export function SystemPage() {
  const { data, error, reload } = useLoaded("readiness", () => look<Readiness>("/readyz"));
  useEffect(() => {
    const timer = window.setInterval(reload, REFRESH_MS);
    return () => window.clearInterval(timer);
  }, []);
  if (data === null) return error ? <Failure error={error} again={reload} /> : <Loading />;
  return (
    <>
      <div class="title">
        <h1>{t("nav.system")}</h1>
      </div>
      {error && <Failure error={error} again={reload} />}
      {data.problems.length === 0 ? (
        <p class="notice">{t("system.ready")}</p>
      ) : (
        <ul class="failure" role="alert">
          {data.problems.map((problem) => (
            <li key={problem}>{problem}</li>
          ))}
        </ul>
      )}
      <Panel title={t("system.dependencies")}>
        <table class="list">
          <tbody>
            {Object.entries(data.dependencies).map(([name, state]) => (
              <tr key={name}>
                <th scope="row">{name}</th>
                <td>
                  <Up up={state.ok} /> {state.detail}
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      </Panel>
      <Panel title={t("system.projections")}>
        <div class="scroll" tabIndex={0} role="region" aria-label={t("system.projections")}>
          <table class="list">
            <thead>
              <tr>
                <th scope="col">{t("column.name")}</th>
                <th scope="col">{t("system.worker")}</th>
                <th scope="col">{t("system.lag")}</th>
                <th scope="col">{t("system.age")}</th>
                <th scope="col">{t("system.letters")}</th>
                <th scope="col">{t("system.schema")}</th>
              </tr>
            </thead>
            <tbody>
              {Object.entries(data.projections).map(([name, one]) => (
                <tr key={name}>
                  <th scope="row">{name}</th>
                  <td>
                    <Up up={one.worker_alive} />
                  </td>
                  <td>{formatNumber(one.lag)}</td>
                  <td>{one.lag === 0 ? "–" : formatDuration(one.age_s)}</td>
                  <td>{formatNumber(one.dead_letters)}</td>
                  <td>
                    <code>{one.live_schema}</code>
                  </td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      </Panel>
      <Panel title={t("system.letters")}>
        <DeadLetters />
      </Panel>
      <Panel title={t("builds.title")}>
        <ReadModels />
      </Panel>
    </>
  );
}

function Up({ up }: { up: boolean }) {
  return <span class={`status ${up ? "completed" : "failed"}`}>{t(up ? "system.up" : "system.down")}</span>;
}
