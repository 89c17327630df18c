/** The audit trail: who asked for what, which rule fired, when the trainer obeyed. */

import { useEffect, useState } from "preact/hooks";

import { get } from "../api/client";
import type { AuditEvent } from "../api/types";
import { Failure } from "../components/parts";
import { t } from "../text";
import { formatTime } from "../text/format";

const PAGE_SIZE = 100;
const PAGES_MAX = 50;
/** A run says these again and again; they are what the charts and the bar show. */
const NOISE = ["training.progress.reported"];

export function Timeline({ jobId, news }: { jobId: number; news: number }) {
  const [events, setEvents] = useState<AuditEvent[]>([]);
  const [error, setError] = useState<Error | null>(null);
  useEffect(() => {
    const stop = new AbortController();
    all(jobId, stop.signal).then(
      (found) => {
        setEvents(found);
        setError(null);
      },
      (reason: Error) => stop.signal.aborted || setError(reason),
    );
    return () => stop.abort();
  }, [jobId, news]);
  if (error) return <Failure error={error} />;
  return (
    <ol class="timeline">
      {events
        .filter((event) => !NOISE.includes(event.type))
        .map((event) => (
          <li key={event.position}>
            <time dateTime={event.time ?? ""}>{formatTime(event.time)}</time>
            <code>{event.type.replace("training.", "")}</code>
            <span class="quiet">→ {event.state}</span>
            <Details of={event} />
          </li>
        ))}
    </ol>
  );
}

function Details({ of: event }: { of: AuditEvent }) {
  const said = ["requested_by", "reason", "rule", "message", "error_code"].flatMap((name) => {
    const value = event.data[name];
    return value === undefined || value === null ? [] : [`${name}: ${typeof value === "string" ? value : JSON.stringify(value)}`];
  });
  return (
    <>
      {said.length > 0 && <span> {said.join(" · ")}</span>}
      {event.ignored_reason && <em> {t("event.ignored", { reason: event.ignored_reason })}</em>}
      <details>
        <summary>{event.position}</summary>
        <pre>{JSON.stringify(event.data, null, 2)}</pre>
      </details>
    </>
  );
}

async function all(jobId: number, signal: AbortSignal): Promise<AuditEvent[]> {
  const events: AuditEvent[] = [];
  let after: string | null = null;
  for (let page = 0; page < PAGES_MAX; page += 1) {
    const answer: { events: AuditEvent[]; next: string | null } = await get(
      `/training/jobs/${jobId}/events`,
      { limit: PAGE_SIZE, after },
      signal,
    );
    events.push(...answer.events);
    if (answer.next === null) break;
    after = answer.next;
  }
  return events;
}
