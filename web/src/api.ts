/** Calls to the node that serves this page.  The token comes once in the address, then stays here. */

import { signal } from "@preact/signals";

const KEY = "ioe-token";
const SECONDS_MAX = 20;

/** What the node refused, or `unreachable`; `text` says what to do. */
export class ApiError extends Error {
  constructor(
    readonly status: number,
    readonly kind: string,
    text: string,
  ) {
    super(text);
  }
}

/** The bearer token; null until one is given or after the node has refused it. */
export const token = signal<string | null>(null);

/** Take the token out of the address bar, where others could read it, or from this browser tab. */
export function takeToken(): void {
  const given = new URLSearchParams(location.hash.slice(1)).get("token");
  if (given) {
    history.replaceState(null, "", location.pathname + location.search);
    setToken(given);
  } else {
    token.value = sessionStorage.getItem(KEY);
  }
}

export function setToken(given: string | null): void {
  if (given) sessionStorage.setItem(KEY, given);
  else sessionStorage.removeItem(KEY);
  token.value = given;
}

export function address(path: string): URL {
  return new URL(`api/v1/${path}`, document.baseURI);
}

async function request(method: string, path: string, body?: unknown): Promise<Response> {
  const headers: Record<string, string> = { Authorization: `Bearer ${token.peek() ?? ""}` };
  if (body !== undefined) headers["Content-Type"] = "application/json";
  let answer: Response;
  try {
    answer = await fetch(address(path), {
      method,
      headers,
      body: body === undefined ? null : JSON.stringify(body),
      signal: AbortSignal.timeout(SECONDS_MAX * 1000),
    });
  } catch {
    throw new ApiError(0, "unreachable", "");
  }
  if (answer.ok) return answer;
  const said = await answer.json().catch(() => ({}));
  if (answer.status === 401) setToken(null);
  throw new ApiError(answer.status, said.error ?? "", said.text ?? answer.statusText);
}

export async function get<T>(path: string): Promise<T> {
  return (await request("GET", path)).json();
}

export async function post<T>(path: string, body: unknown): Promise<T> {
  return (await request("POST", path, body)).json();
}

export async function remove(path: string): Promise<void> {
  await request("DELETE", path);
}

/** Fetch a file with our token and let the browser save it. */
export async function download(path: string, name: string): Promise<void> {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(await (await request("GET", path)).blob());
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

/** `path?key=value&…`, leaving out what is null. */
export function query(path: string, values: Record<string, string | number | null>): string {
  const given = Object.entries(values).filter(([, value]) => value !== null);
  const text = new URLSearchParams(given.map(([key, value]) => [key, String(value)])).toString();
  return text ? `${path}?${text}` : path;
}
