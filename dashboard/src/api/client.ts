/** Requests to the API: answers typed, refusals in the service's own words. */

import type { Problem } from "./types";

const BASE = "/api/v1";

/** The service refused, or could not be reached (`status` 0). */
export class ApiError extends Error {
  constructor(
    readonly status: number,
    readonly problem: Problem,
  ) {
    super(problem.detail);
  }
}

export type Query = Record<string, string | number | boolean | readonly string[] | null | undefined>;

/** A path below `/api/v1` with its query; what is null, undefined or empty is left out. */
export function address(path: string, query: Query = {}): string {
  const words = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) {
    if (Array.isArray(value)) value.forEach((one) => words.append(name, String(one)));
    else if (value !== null && value !== undefined && value !== "") words.set(name, String(value));
  }
  const text = words.toString();
  return `${BASE}${path}${text ? `?${text}` : ""}`;
}

async function answer<T>(response: Response): Promise<T> {
  const text = await response.text();
  const document: unknown = text === "" ? null : parsed(text);
  if (response.ok) return document as T;
  const problem = document as Partial<Problem> | null;
  throw new ApiError(response.status, {
    status: response.status,
    detail: problem?.detail ?? `${response.status} ${response.statusText}`,
    problems: problem?.problems ?? [],
  });
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

async function request(url: string, options: RequestInit): Promise<Response> {
  try {
    return await fetch(url, options);
  } catch (error) {
    if (error instanceof DOMException && error.name === "AbortError") throw error;
    throw new ApiError(0, { status: 0, detail: "the service cannot be reached", problems: [] });
  }
}

/** GET below `/api/v1`. Throws ApiError. */
export async function get<T>(path: string, query: Query = {}, signal: AbortSignal | null = null): Promise<T> {
  return answer<T>(await request(address(path, query), { signal }));
}

/** GET of a path outside of `/api/v1`, whose answer is worth reading whatever its status is. */
export async function look<T>(path: string): Promise<T> {
  return (await (await request(path, {})).json()) as T;
}

/** Send JSON. Throws ApiError. */
export async function send<T>(method: "POST" | "PATCH" | "DELETE", path: string, body?: unknown): Promise<T> {
  const options: RequestInit = { method };
  if (body !== undefined) {
    options.headers = { "content-type": "application/json" };
    options.body = JSON.stringify(body);
  }
  return answer<T>(await request(address(path), options));
}
