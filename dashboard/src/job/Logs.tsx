/** Log lines: the newest from the server, searched there, then live. */

import { useEffect, useRef, useState } from "preact/hooks";

import { get } from "../api/client";
import type { LogLine, LogPage } from "../api/types";
import { Failure, useLoaded, useRested } from "../components/parts";
import { t } from "../text";
import { formatSpan } from "../text/format";

const PAGE_SIZE = 500;
const LEVELS = ["DEBUG", "INFO", "WARNING", "ERROR"];
const ROW_PX = 20;
const SPARE_ROWS = 20;

export function Logs({ jobId, live }: { jobId: number; live: readonly LogLine[] }) {
  const [search, setSearch] = useState("");
  const [level, setLevel] = useState("");
  const [follow, setFollow] = useState(true);
  const [pages, setPages] = useState(1);
  const words = useRested(search);
  const { data, error, reload } = useLoaded(`${jobId}|${words}|${level}|${pages}`, (signal) => newest(jobId, words, level, pages, signal));
  const lines = merged(data?.logs ?? [], live.filter((line) => fits(line, words, level)));
  return (
    <>
      <form class="filters" role="search" onSubmit={(event) => event.preventDefault()}>
        <input
          type="search"
          aria-label={t("log.search")}
          placeholder={t("log.search")}
          value={search}
          onInput={(event) => setSearch(event.currentTarget.value)}
        />
        <label>
          {t("log.level")}
          <select value={level} onChange={(event) => setLevel(event.currentTarget.value)}>
            <option value="">{t("log.all")}</option>
            {LEVELS.map((one) => (
              <option key={one}>{one}</option>
            ))}
          </select>
        </label>
        <label class="check">
          <input type="checkbox" checked={follow} onChange={(event) => setFollow(event.currentTarget.checked)} />
          {t("log.follow")}
        </label>
        {data !== null && data.logs.length < data.total && (
          <button type="button" onClick={() => setPages(pages + 1)}>
            {t("log.older")}
          </button>
        )}
      </form>
      {error && <Failure error={error} again={reload} />}
      {lines.length === 0 ? <p class="quiet">{t("log.none")}</p> : <Lines lines={lines} follow={follow} stopFollowing={() => setFollow(false)} />}
    </>
  );
}

/** The last pages of what fits: the answer counts from the beginning, so its end has to be known first. */
async function newest(jobId: number, search: string, level: string, pages: number, signal: AbortSignal): Promise<LogPage> {
  const query = { search, min_level: level };
  const path = `/training/jobs/${jobId}/logs`;
  const { total } = await get<LogPage>(path, { ...query, limit: 1 }, signal);
  const wanted = Math.min(total, PAGE_SIZE * pages);
  const logs: LogLine[] = [];
  while (logs.length < wanted) {
    const part = await get<LogPage>(path, { ...query, limit: PAGE_SIZE, offset: total - wanted + logs.length }, signal);
    if (part.logs.length === 0) break;
    logs.push(...part.logs);
  }
  return { logs, total, has_more: wanted < total };
}

function fits(line: LogLine, search: string, level: string): boolean {
  return line.message.toLowerCase().includes(search.toLowerCase()) && LEVELS.indexOf(line.level) >= LEVELS.indexOf(level);
}

/** Live lines may be in the answer already. */
function merged(stored: LogLine[], live: LogLine[]): LogLine[] {
  const identity = (line: LogLine) => `${Date.parse(line.timestamp)}|${line.level}|${line.message}`;
  const seen = new Set(stored.slice(-PAGE_SIZE * 4).map(identity));
  return [...stored, ...live.filter((line) => !seen.has(identity(line)))];
}

/** Only the rows that can be seen are in the document. */
export function Lines({ lines, follow, stopFollowing }: { lines: LogLine[]; follow: boolean; stopFollowing: () => void }) {
  const box = useRef<HTMLDivElement>(null);
  const [top, setTop] = useState(0);
  const [height, setHeight] = useState(400);
  useEffect(() => {
    const element = box.current;
    if (element === null) return;
    setHeight(element.clientHeight);
    if (follow) element.scrollTop = element.scrollHeight;
  }, [lines.length, follow]);
  const first = Math.max(0, Math.floor(top / ROW_PX) - SPARE_ROWS);
  const last = Math.min(lines.length, Math.ceil((top + height) / ROW_PX) + SPARE_ROWS);

  function scrolled(element: HTMLDivElement) {
    setTop(element.scrollTop);
    const atEnd = element.scrollTop + element.clientHeight >= element.scrollHeight - ROW_PX * 2;
    if (!atEnd && follow && element.scrollTop < top) stopFollowing();
  }

  return (
    <div
      ref={box}
      class="log"
      tabIndex={0}
      role="log"
      aria-live={follow ? "polite" : "off"}
      aria-label={t("job.logs")}
      onScroll={(event) => scrolled(event.currentTarget)}
    >
      <div style={{ height: `${lines.length * ROW_PX}px`, position: "relative" }}>
        <div style={{ transform: `translateY(${first * ROW_PX}px)` }}>
          {lines.slice(first, last).map((line, place) => (
            <div key={first + place} class={`line ${line.level}`} title={line.message}>
              <time dateTime={line.timestamp}>{formatSpan(Date.parse(line.timestamp) / 1000)}</time>
              <b>{line.level}</b>
              <span>{line.message}</span>
            </div>
          ))}
        </div>
      </div>
    </div>
  );
}
