/** The API's answers, as far as the page shows them (`/docs` has all of it). */

/** A metric's value: numbers that JSON lacks are spelled. */
export type MetricValue = number | "NaN" | "Infinity" | "-Infinity";

export type JobStatus = "pending" | "running" | "completed" | "stopped" | "failed";

export interface Job {
  id: number;
  name: string | null;
  description: string | null;
  tags: string[];
  notes: string | null;
  status: JobStatus;
  state: string;
  integrity: Integrity | null;
  attempt: number;
  retries: number;
  model_name: string | null;
  framework: string | null;
  task_type: string | null;
  dataset_id: number | null;
  config: Record<string, unknown>;
  advanced_config: Record<string, unknown> | null;
  current_epoch: number | null;
  total_epochs: number | null;
  phase: string | null;
  eta_seconds: number | null;
  best_metric: number | null;
  best_metric_name: string | null;
  best_metric_epoch: number | null;
  training_results: Record<string, unknown> | null;
  final_metrics: Record<string, unknown> | null;
  error_code: string | null;
  error_message: string | null;
  last_successful_epoch: number | null;
  awaits_retry: boolean;
  stopped_at_epoch: number | null;
  stop_requested_at: string | null;
  early_stopping: { rule: string; reason: string } | null;
  exit_code: number | null;
  exit_signal: string | null;
  mlflow_run_id: string | null;
  created_at: string | null;
  started_at: string | null;
  completed_at: string | null;
  deleted_at: string | null;
}

export type Integrity = "complete" | "pending" | "incomplete" | "not provable";

export interface IntegrityLine {
  session: string;
  sender: string | null;
  rank: number | null;
  topic: string;
  sent: number | null;
  in_log: number;
  missing: [number, number][];
  dropped: { count: number; reason: string }[];
  read_models: { read_model: string; applied: number; verdict: Integrity }[];
  verdict: Integrity;
  reasons: string[];
}

export interface IntegrityAnswer {
  integrity: Integrity;
  attempts: { attempt: number | null; verdict: Integrity; lines: IntegrityLine[] }[];
}

export interface JobList {
  jobs: Job[];
  total: number;
}

export interface Series {
  name: string;
  steps: (number | null)[];
  epochs: (number | null)[];
  times: number[];
  values: MetricValue[];
  total_points: number;
  sampled: boolean;
}

export interface LogLine {
  id?: number;
  level: string;
  message: string;
  timestamp: string;
  source: string;
}

export interface LogPage {
  logs: LogLine[];
  total: number;
  has_more: boolean;
}

export interface Checkpoint {
  id: number;
  attempt: number;
  epoch: number | null;
  checkpoint_path: string;
  is_best: boolean;
  metrics: Record<string, MetricValue> | null;
  file_size_bytes: number | null;
  saved_at: string | null;
  content_url: string;
}

export interface Artifact {
  id: number;
  name: string;
  kind: string;
  epoch: number | null;
  content_type: string | null;
  file_size_bytes: number;
  saved_at: string | null;
  content_url: string;
}

export interface AuditEvent {
  position: string;
  topic: string;
  type: string;
  summary: string;
  time: string | null;
  append_time: string | null;
  attempt: number | null;
  source: string | null;
  data: Record<string, unknown>;
  state_before: string | null;
  state: string | null;
  ignored_reason: string | null;
  seconds_after_request: number | null;
  cursor: string;
}

export interface EventPage {
  events: AuditEvent[];
  next: string | null;
  previous: string | null;
}

export interface DeadLetter {
  position: string;
  topic: string;
  partition: number;
  offset: number;
  append_time: string | null;
  key: string | null;
  type: string | null;
  status: string;
  read_models: { read_model: string; reason: string; status: string; applied: boolean | null }[];
  bad_again_at: string[];
}

export interface DeadLetterDetail extends DeadLetter {
  headers: { name: string; value: { base64: string; text: string | null } | null }[];
  value: { base64: string; text: string | null } | null;
  actions: { action: string; reason: string; by: string; time: string | null }[];
}

export interface Outcome {
  done: string[];
  skipped: { position: string; reason: string }[];
  remaining: number;
}

export interface ReadModel {
  read_model: string;
  live: { schema: string; version: number; build: number; bytes: number; live_since: string | null };
  flip_back_to: { schema: string } | null;
  building: { schema: string } | null;
  running: {
    purpose: string;
    phase: string;
    events_done: number;
    events_total: number;
    events_per_second: number | null;
    eta_s: number | null;
  } | null;
  last: { purpose: string; state: string; ended_at: string } | null;
}

export interface SystemSeries {
  name: string;
  rank: number;
  gpu: number | null;
  times: number[];
  values: number[];
}

export interface Dataset {
  id: number;
  name: string;
  description: string | null;
  task_types: string[];
  total_images: number;
  splits: Record<string, number>;
  annotations: Record<string, { file: string; classes: string[]; total_annotations: number }>;
  storage_path: string;
  warnings: string[];
  created_at: string | null;
}

export interface Model {
  name: string;
  framework: string;
  task_types: string[];
  description: string | null;
  parameters: number | null;
  registered_at: string | null;
}

export interface Problem {
  status: number;
  detail: string;
  problems: { location: (string | number)[]; message: string }[];
}

export interface Readiness {
  status: string;
  problems: string[];
  dependencies: Record<string, { ok: boolean; detail: string | null }>;
  projections: Record<
    string,
    { lag: number | null; age_s: number | null; dead_letters: number; live_schema: string; worker_alive: boolean }
  >;
}
