/** Models that trainers offer. */

import { get } from "../api/client";
import type { Model } from "../api/types";
import { Failure, Loading, useLoaded } from "../components/parts";
import { t } from "../text";
import { formatNumber } from "../text/format";

export function ModelsPage() {
  const { data, error, reload } = useLoaded("models", (signal) => get<{ models: Model[] }>("/models", { limit: 1000 }, signal));
  return (
    <>
      <div class="title">
        <h1>{t("nav.models")}</h1>
      </div>
      {error && <Failure error={error} again={reload} />}
      {data === null && error === null && <Loading />}
      {data?.models.length === 0 && <p class="quiet">{t("models.none")}</p>}
      {data !== null && data.models.length > 0 && (
        <div class="scroll" tabIndex={0} role="region" aria-label={t("nav.models")}>
          <table class="list">
            <thead>
              <tr>
                <th scope="col">{t("column.name")}</th>
                <th scope="col">{t("models.framework")}</th>
                <th scope="col">{t("models.tasks")}</th>
                <th scope="col">{t("models.parameters")}</th>
                <th scope="col" />
              </tr>
            </thead>
            <tbody>
              {data.models.map((one) => (
                <tr key={`${one.framework}/${one.name}`}>
                  <th scope="row" title={one.description ?? ""}>
                    {one.name}
                  </th>
                  <td>{one.framework}</td>
                  <td>{one.task_types.join(", ")}</td>
                  <td>{formatNumber(one.parameters)}</td>
                  <td>
                    <a href={`/new?model=${encodeURIComponent(one.name)}&framework=${encodeURIComponent(one.framework)}`}>{t("nav.new")}</a>
                  </td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
    </>
  );
}
