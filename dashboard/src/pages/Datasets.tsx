/** Data sets that may be trained on. */

import { useState } from "preact/hooks";

import { get } from "../api/client";
import type { Dataset } from "../api/types";
import { Failure, Loading, useLoaded, useRested } from "../components/parts";
import { t } from "../text";
import { formatNumber, formatTime } from "../text/format";

export function DatasetsPage() {
  const [search, setSearch] = useState("");
  const words = useRested(search);
  const { data, error, reload } = useLoaded(words, (signal) =>
    get<{ datasets: Dataset[]; total: number }>("/datasets", { search: words, limit: 200 }, signal),
  );
  return (
    <>
      <div class="title">
        <h1>{t("nav.datasets")}</h1>
      </div>
      <form class="filters" role="search" onSubmit={(event) => event.preventDefault()}>
        <input
          type="search"
          aria-label={t("datasets.search")}
          placeholder={t("datasets.search")}
          value={search}
          onInput={(event) => setSearch(event.currentTarget.value)}
        />
      </form>
      {error && <Failure error={error} again={reload} />}
      {data === null && error === null && <Loading />}
      {data?.datasets.length === 0 && <p class="quiet">{t("datasets.none")}</p>}
      <div class="cards">
        {data?.datasets.map((one) => <Card key={one.id} dataset={one} />)}
      </div>
    </>
  );
}

function Card({ dataset }: { dataset: Dataset }) {
  return (
    <section class="panel">
      <h2>
        {dataset.name} <span class="quiet">#{dataset.id}</span>
      </h2>
      {dataset.description && <p>{dataset.description}</p>}
      <p>
        {dataset.task_types.map((task) => (
          <span key={task} class="tag">
            {task}
          </span>
        ))}
      </p>
      <dl class="facts">
        <div>
          <dt>{t("datasets.images")}</dt>
          <dd>{formatNumber(dataset.total_images)}</dd>
        </div>
        {Object.entries(dataset.splits).map(([split, count]) => (
          <div key={split}>
            <dt>{split}</dt>
            <dd>{formatNumber(count)}</dd>
          </div>
        ))}
      </dl>
      {Object.entries(dataset.annotations).map(([task, one]) => (
        <details key={task}>
          <summary>
            {task}: {one.classes.length} {t("datasets.classes")}, {formatNumber(one.total_annotations)}
          </summary>
          <p>{one.classes.join(", ")}</p>
        </details>
      ))}
      <p class="quiet">
        <code>{dataset.storage_path}</code> · {formatTime(dataset.created_at)}
      </p>
    </section>
  );
}
