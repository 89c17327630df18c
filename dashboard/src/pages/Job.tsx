/** One job, live. */

import { useState } from "preact/hooks";
import { useRoute } from "preact-iso";

import type { Job } from "../api/types";
import { Document, Failure, Loading, Panel, Status } from "../components/parts";
import { Actions } from "../job/Actions";
import { Charts } from "../job/Charts";
import { Artifacts, Checkpoints } from "../job/Files";
import { IntegrityTable } from "../job/IntegrityTable";
import { Logs } from "../job/Logs";
import { Machine } from "../job/Machine";
import { Timeline } from "../job/Timeline";
import { Past, TimeSlider } from "../job/Past";
import { Summary } from "../job/Summary";
import { loadPart, useJob, type Followed } from "../job/useJob";
import { t } from "../text";

const TABS = ["overview", "logs", "checkpoints", "artifacts", "system", "events", "integrity", "config"] as const;
type Tab = (typeof TABS)[number];

export function JobPage() {
  const { params } = useRoute();
  const id = Number(params["id"]);
  // Another job is another page: nothing of the one before may shine through.
  return <JobView key={id} id={id} />;
}

function JobView({ id }: { id: number }) {
  const followed = useJob(id);
  const [moment, setMoment] = useState<number | null>(null);
  const { job, connection } = followed;
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
      <TimeSlider job={job} moment={moment} choose={setMoment} />
      {moment === null ? (
        <>
          <Summary job={job} />
          <Tabs id={id} followed={followed} job={job} />
        </>
      ) : (
        <Past id={id} moment={moment} back={() => setMoment(null)} />
      )}
    </>
  );
}

function Tabs({ id, job, followed }: { id: number; job: Job; followed: Followed }) {
  const [tab, setTab] = useState<Tab>("overview");
  const { news } = followed;
  return (
    <>
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
        {tab === "overview" && <Charts
            series={followed.series}
            totals={followed.totals}
            syncKey={`job-${id}`}
            closer={(names, since, until) => loadPart(id, names, since, until)}
          />}
        {tab === "logs" && <Logs jobId={id} live={followed.lines} />}
        {tab === "checkpoints" && <Checkpoints jobId={id} news={news} />}
        {tab === "artifacts" && <Artifacts jobId={id} news={news} />}
        {tab === "system" && <Machine jobId={id} news={news} />}
        {tab === "events" && <Timeline jobId={id} news={news} />}
        {tab === "integrity" && <IntegrityTable jobId={id} news={news} />}
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
