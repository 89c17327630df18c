/** The audit trail: who asked for what, which rule fired, when the trainer obeyed. The newest first. */

import { useEffect, useState } from "preact/hooks";

import { get } from "../api/client";
import type { AuditEvent, EventPage } from "../api/types";
import { Failure, Loading } from "../components/parts";
import { t, word } from "../text";
import { formatNumber, formatTime } from "../text/format";

const PAGE_SIZE = 100;
/** A run says this again and again; the bar and the charts show it. */
const NOISE = "training.progress.reported";

export function Timeline({ jobId, news }: { jobId: number; news: number }) {
  const [events, setEvents] = useState<AuditEvent[] | null>(null);
  const [earlier, setEarlier] = useState<string | null>(null);
  const [everything, setEverything] = useState(false);
  const [error, setError] = useState<Error | null>(null);

  async function load(before: string, known: AuditEvent[], signal: AbortSignal | null) {
    try {
      const query = { limit: PAGE_SIZE, before, topic: everything ? "all" : "jobs" };
      const page = await get<EventPage>(`/training/jobs/${jobId}/events`, query, signal);
      setEvents([...page.events, ...known]);
      setEarlier(page.previous);
      setError(null);
    } catch (reason) {
      if (!signal?.aborted) setError(reason as Error);
    }
  }

  useEffect(() => {
    const stop = new AbortController();
    void load("latest", [], stop.signal);
    return () => stop.abort();
  }, [jobId, news, everything]);

  if (error) return <Failure error={error} />;
  if (events === null) return <Loading />;
  const shown = everything ? events : events.filter((event) => !event.type.startsWith(NOISE));
  return (
    <>
      <div class="filters">
        <label class="check">
          <input type="checkbox" checked={everything} onChange={(event) => setEverything(event.currentTarget.checked)} />
          {t("event.all")}
        </label>
      </div>
      <ol class="timeline" reversed>
        {[...shown].reverse().map((event) => (
          <li key={event.position}>
            <time dateTime={event.append_time ?? ""}>{formatTime(event.append_time)}</time>
            <b>{event.summary}</b> <Consequence of={event} />
            <details>
              <summary>
                <code>{event.type}</code> {event.position}
              </summary>
              <pre>{JSON.stringify({ source: event.source, attempt: event.attempt, ...event.data }, null, 2)}</pre>
            </details>
          </li>
        ))}
      </ol>
      {earlier !== null && (
        <button type="button" onClick={() => void load(earlier, events, null)}>
          {t("event.more")}
        </button>
      )}
    </>
  );
}

function Consequence({ of: event }: { of: AuditEvent }) {
  const after = event.seconds_after_request;
  return (
    <span class="quiet">
      {event.state !== null && event.state !== event.state_before && ` → ${word("status", event.state)}`}
      {after !== null && ` · ${t("event.after", { seconds: formatNumber(after) })}`}
      {event.ignored_reason !== null && ` · ${t("event.ignored", { reason: event.ignored_reason })}`}
    </span>
  );
}
