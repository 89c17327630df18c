/** A new job: a model, a data set, and the form that the model's own schema makes. */

import { useState } from "preact/hooks";
import { useLocation } from "preact-iso";

import { ApiError, get, send } from "../api/client";
import type { Dataset, Job, Model } from "../api/types";
import { Failure, Loading, useLoaded } from "../components/parts";
import { SchemaForm, resolved, type Schema, type Values } from "../components/SchemaForm";
import { t } from "../text";

export function NewJobPage() {
  const { query, route } = useLocation();
  const [model, setModel] = useState(query["model"] === undefined ? "" : `${query["framework"] ?? ""}/${query["model"]}`);
  const [datasetId, setDatasetId] = useState("");
  const [name, setName] = useState("");
  const [description, setDescription] = useState("");
  const [config, setConfig] = useState<Values>({});
  const [advanced, setAdvanced] = useState<Values>({});
  const [error, setError] = useState<Error | null>(null);
  const [busy, setBusy] = useState(false);
  const models = useLoaded("models", (signal) => get<{ models: Model[] }>("/models", { limit: 1000 }, signal));
  const datasets = useLoaded("datasets", (signal) => get<{ datasets: Dataset[] }>("/datasets", { limit: 1000 }, signal));
  const [framework, modelName] = split(model);
  const schema = useLoaded(model === "" ? null : model, (signal) =>
    get<Schema>(`/models/${encodeURIComponent(modelName)}/config-schema`, { framework }, signal),
  );
  const dataset = datasets.data?.datasets.find((one) => String(one.id) === datasetId);
  const tasks = models.data?.models.find((one) => one.name === modelName && one.framework === framework)?.task_types ?? [];
  const task = tasks.find((one) => dataset?.task_types.includes(one));

  async function create(event: Event) {
    event.preventDefault();
    setBusy(true);
    try {
      const job = await send<Job>("POST", "/training/jobs", {
        model_name: modelName,
        framework,
        task_type: task ?? tasks[0],
        dataset_id: Number(datasetId),
        config,
        ...(Object.keys(advanced).length > 0 ? { advanced_config: advanced } : {}),
        ...(name === "" ? {} : { name }),
        ...(description === "" ? {} : { description }),
      });
      route(`/jobs/${job.id}`);
    } catch (reason) {
      setError(reason as Error);
    } finally {
      setBusy(false);
    }
  }

  const failure = models.error ?? datasets.error ?? schema.error;
  return (
    <>
      <div class="title">
        <h1>{t("new.title")}</h1>
      </div>
      {failure && <Failure error={failure} />}
      {(models.data === null || datasets.data === null) && failure === null && <Loading />}
      <form onSubmit={(event) => void create(event)} class="new">
        <div class="fields">
          <div class="field">
            <label for="model">{t("new.model")}</label>
            <select id="model" required value={model} onChange={(event) => setModel(event.currentTarget.value)}>
              <option value="" />
              {models.data?.models.map((one) => (
                <option key={`${one.framework}/${one.name}`} value={`${one.framework}/${one.name}`}>
                  {one.name} ({one.framework}: {one.task_types.join(", ")})
                </option>
              ))}
            </select>
          </div>
          <div class="field">
            <label for="dataset">{t("new.dataset")}</label>
            <select id="dataset" required value={datasetId} onChange={(event) => setDatasetId(event.currentTarget.value)}>
              <option value="" />
              {datasets.data?.datasets
                .filter((one) => tasks.length === 0 || one.task_types.some((each) => tasks.includes(each)))
                .map((one) => (
                  <option key={one.id} value={one.id}>
                    {one.name} #{one.id} ({one.task_types.join(", ")})
                  </option>
                ))}
            </select>
          </div>
          <div class="field">
            <label for="name">{t("new.name")}</label>
            <input id="name" value={name} onInput={(event) => setName(event.currentTarget.value)} />
          </div>
          <div class="field">
            <label for="description">{t("new.description")}</label>
            <input id="description" value={description} onInput={(event) => setDescription(event.currentTarget.value)} />
          </div>
        </div>
        {schema.data === null ? (
          <p class="quiet">{t("new.pick")}</p>
        ) : (
          <>
            <h2>{t("new.basic")}</h2>
            <SchemaForm prefix="config" schema={part(schema.data, "config")} root={schema.data} values={config} change={setConfig} wrong={wrong(error, "config")} />
            <details>
              <summary>{t("new.advanced")}</summary>
              <SchemaForm
                prefix="advanced"
                schema={part(schema.data, "advanced_config")}
                root={schema.data}
                values={advanced}
                change={setAdvanced}
                wrong={wrong(error, "advanced_config")}
              />
            </details>
          </>
        )}
        {error && <Failure error={error} />}
        <button type="submit" class="primary" disabled={busy || model === "" || datasetId === ""}>
          {t("new.create")}
        </button>
      </form>
    </>
  );
}

function split(model: string): [string, string] {
  const place = model.indexOf("/");
  return [model.slice(0, place), model.slice(place + 1)];
}

function part(schema: Schema, name: string): Schema {
  return resolved(schema.properties?.[name] ?? {}, schema);
}

/** The service's problems of one part, by field. */
function wrong(error: Error | null, section: string): Map<string, string> {
  const found = new Map<string, string>();
  if (!(error instanceof ApiError)) return found;
  for (const problem of error.problem.problems) {
    const place = problem.location.indexOf(section);
    const field = problem.location[place + 1];
    if (place !== -1 && field !== undefined) found.set(String(field), problem.message);
  }
  return found;
}
