/** One job over the WebSocket: a snapshot, then every update once, over any number of lost connections. */

import type { Job, LogLine, MetricValue } from "./types";

export interface MetricColumns {
  phase: string;
  epochs: (number | null)[];
  steps: (number | null)[];
  times: (string | number)[];
  values: Record<string, (MetricValue | null)[]>;
}

export interface Snapshot {
  job: Job;
  metrics: Record<string, { step: number | null; epoch: number | null; time: number; value: MetricValue }>;
}

export type Frame =
  | { type: "snapshot"; data: Snapshot }
  | { type: "job_status"; data: { status: Job["status"]; state: string } }
  | { type: "progress"; data: { epoch: number; total: number | null; phase: string; eta_seconds?: number } }
  | { type: "metrics"; data: MetricColumns }
  | { type: "checkpoint"; data: { path: string; is_best: boolean; epoch: number | null } }
  | { type: "log"; data: LogLine }
  | { type: "error"; data: { code: string; message: string } }
  | { type: "gap"; data: unknown }
  | { type: "job_created" | "job_deleted" | "job_restored"; data: { id: number } };

export type Connection = "connecting" | "open" | "lost";

export interface Listener {
  frame(frame: Frame): void;
  connection(state: Connection): void;
  /** The job is not there: nothing more will come. */
  gone(reason: string): void;
}

const FIRST_DELAY_MS = 500;
const LAST_DELAY_MS = 10_000;
const UNKNOWN_JOB = 4404;
const BAD_CURSOR = 4400;

/** Listens until `close()`. After a lost connection it goes on from the last cursor: no gap, no duplicate. */
export class LiveJob {
  private socket: WebSocket | null = null;
  private cursor: string | null = null;
  private delay_ms = FIRST_DELAY_MS;
  private timer: number | undefined;
  private closed = false;

  constructor(
    private readonly jobId: number | null,
    private readonly listener: Listener,
  ) {
    this.connect();
  }

  close(): void {
    this.closed = true;
    window.clearTimeout(this.timer);
    this.socket?.close();
  }

  private connect(): void {
    this.listener.connection(this.cursor === null ? "connecting" : "lost");
    const words = new URLSearchParams();
    if (this.jobId !== null) {
      words.set("job_id", String(this.jobId));
      words.set("protocol", "2");
      if (this.cursor !== null) words.set("after", this.cursor);
    }
    const scheme = location.protocol === "https:" ? "wss" : "ws";
    const socket = new WebSocket(`${scheme}://${location.host}/api/v1/ws/training?${words}`);
    this.socket = socket;
    socket.onopen = () => {
      this.delay_ms = FIRST_DELAY_MS;
      this.listener.connection("open");
    };
    socket.onmessage = (message: MessageEvent<string>) => {
      const frame = JSON.parse(message.data) as Frame & { cursor?: string };
      if (frame.cursor !== undefined) this.cursor = frame.cursor;
      this.listener.frame(frame);
    };
    socket.onclose = (event) => this.lost(event);
  }

  private lost(event: CloseEvent): void {
    if (this.closed) return;
    if (event.code === UNKNOWN_JOB) {
      this.listener.gone(event.reason);
      return;
    }
    // The service does not know the place any more: a new snapshot says all there is.
    if (event.code === BAD_CURSOR) this.cursor = null;
    this.listener.connection("lost");
    // Not all pages at once when a server comes back.
    this.timer = window.setTimeout(() => this.connect(), this.delay_ms * (0.5 + Math.random() / 2));
    this.delay_ms = Math.min(LAST_DELAY_MS, this.delay_ms * 2);
  }
}
