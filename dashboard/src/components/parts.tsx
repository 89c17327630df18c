/** Small parts that several pages share. */

import type { ComponentChildren } from "preact";
import { useEffect, useState } from "preact/hooks";

import { ApiError } from "../api/client";
import type { Job, JobStatus } from "../api/types";
import { t, word } from "../text";

export function Status({ status, state }: { status: JobStatus; state?: string }) {
  const exact = state !== undefined && state !== status ? ` · ${word("state", state)}` : "";
  return <span class={`status ${status}`}>{word("status", status) + exact}</span>;
}

export function Progress({ job }: { job: Pick<Job, "current_epoch" | "total_epochs" | "status"> }) {
  const { current_epoch: epoch, total_epochs: total } = job;
  if (epoch === null || total === null || total === 0) return <span class="quiet">–</span>;
  return (
    <span class="progress">
      <progress max={total} value={Math.min(epoch, total)} aria-label={t("column.progress")} />
      <span>
        {epoch}/{total}
      </span>
    </span>
  );
}

/** What the service said, every problem at once. */
export function Failure({ error, again }: { error: Error; again?: () => void }) {
  const problems = error instanceof ApiError ? error.problem.problems : [];
  return (
    <div class="failure" role="alert">
      <strong>{t("error.title")}</strong>
      {problems.length === 0 ? (
        <p>{error.message}</p>
      ) : (
        <ul>
          {problems.map((problem) => (
            <li key={problem.location.join(".") + problem.message}>
              <code>{problem.location.join(".")}</code> {problem.message}
            </li>
          ))}
        </ul>
      )}
      {again && (
        <button type="button" onClick={again}>
          {t("error.again")}
        </button>
      )}
    </div>
  );
}

export function Loading() {
  return <p class="quiet">{t("loading")}</p>;
}

export interface Loaded<T> {
  data: T | null;
  error: Error | null;
  reload: () => void;
}

/** Fetch when `key` changes, and again on `reload`. An answer that comes late for an older key is dropped. */
export function useLoaded<T>(key: string | null, fetcher: (signal: AbortSignal) => Promise<T>): Loaded<T> {
  const [data, setData] = useState<T | null>(null);
  const [error, setError] = useState<Error | null>(null);
  const [count, setCount] = useState(0);
  useEffect(() => {
    if (key === null) return;
    const stop = new AbortController();
    fetcher(stop.signal).then(
      (found) => {
        setData(found);
        setError(null);
      },
      (reason: unknown) => {
        if (!stop.signal.aborted) setError(reason instanceof Error ? reason : new Error(String(reason)));
      },
    );
    return () => stop.abort();
  }, [key, count]);
  return { data, error, reload: () => setCount((before) => before + 1) };
}

/** A value that follows another once that has rested for a moment: no request for every letter. */
export function useRested<T>(value: T, delay_ms = 250): T {
  const [rested, setRested] = useState(value);
  useEffect(() => {
    const timer = window.setTimeout(() => setRested(value), delay_ms);
    return () => window.clearTimeout(timer);
  }, [value, delay_ms]);
  return rested;
}

export function Panel({ title, children, id }: { title: string; children: ComponentChildren; id?: string }) {
  return (
    <section class="panel" {...(id === undefined ? {} : { id })}>
      <h2>{title}</h2>
      {children}
    </section>
  );
}

export function Facts({ of }: { of: [string, ComponentChildren][] }) {
  return (
    <dl class="facts">
      {of.map(([name, value]) => (
        <div key={name}>
          <dt>{name}</dt>
          <dd>{value}</dd>
        </div>
      ))}
    </dl>
  );
}

/** A document as text, one entry a line. */
export function Document({ of }: { of: Record<string, unknown> }) {
  const rows = Object.entries(of);
  if (rows.length === 0) return <p class="quiet">–</p>;
  return (
    <table class="plain">
      <tbody>
        {rows.map(([name, value]) => (
          <tr key={name}>
            <th scope="row">{name}</th>
            <td>
              <code>{typeof value === "string" ? value : JSON.stringify(value)}</code>
            </td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}
