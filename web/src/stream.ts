/**
 * The node's live stream, as three counters that views refetch by.
 *
 * `live` counts new readings, `changed` everything else.  A view never patches what it shows from
 * a notice: it asks again.  So a lost notice costs nothing but time, and after a gap that the node
 * states, or a connection that broke, one refetch makes everything true again.
 */

import { signal } from "@preact/signals";
import { address, setToken, token } from "./api";
import { tell } from "./notices";
import type { Alert } from "./types";
import { readable } from "./units";

type Connection = "connecting" | "live" | "offline";

export const connection = signal<Connection>("connecting");
export const live = signal(0);
export const changed = signal(0);

const LIVE_EVERY_MS = 1_000;
const CHANGED_EVERY_MS = 1_500;
const RETRY_MS_MIN = 500;
const RETRY_MS_MAX = 15_000;
/** The node says something every 15 s; who is silent for longer than this has gone. */
const SILENCE_MS_MAX = 40_000;
/** The close code of a node that does not take our token. */
const UNAUTHORISED = 4401;

/** Count at once, and then at most once in `every_ms`. */
function throttled(count: { value: number }, every_ms: number): () => void {
  let waiting = false;
  let again = false;
  return function tick() {
    if (waiting) {
      again = true;
      return;
    }
    count.value += 1;
    waiting = true;
    setTimeout(() => {
      waiting = false;
      if (again) {
        again = false;
        tick();
      }
    }, every_ms);
  };
}

const tickLive = throttled(live, LIVE_EVERY_MS);
const tickChanged = throttled(changed, CHANGED_EVERY_MS);

/** Everything shown may be old: ask for all of it again. */
function refetch(): void {
  tickLive();
  tickChanged();
}

function take(notice: { kind: string; alert?: Alert }): void {
  if (notice.kind === "beat") return;
  if (notice.kind === "live") tickLive();
  else if (notice.kind === "gap") refetch();
  else tickChanged();
  if (notice.alert) tell(readable(notice.alert.text));
}

/** Stay connected until the returned function is called. */
export function follow(): () => void {
  let socket: WebSocket | null = null;
  let timer = 0;
  let silence = 0;
  let retry_ms = RETRY_MS_MIN;
  let lost = false;
  let stopped = false;

  function connect(): void {
    const url = address("stream");
    url.protocol = url.protocol.replace("http", "ws");
    const opened = new WebSocket(url, ["ioe.v1", `ioe.token.${token.peek()}`]);
    socket = opened;
    opened.onmessage = (event) => {
      heard();
      take(JSON.parse(event.data));
    };
    opened.onopen = () => {
      heard();
      retry_ms = RETRY_MS_MIN;
      connection.value = "live";
      if (lost) refetch();
    };
    opened.onclose = (event) => socket === opened && ended(event.code);
  }

  function heard(): void {
    clearTimeout(silence);
    silence = window.setTimeout(() => {
      socket?.close();
      ended(0);
    }, SILENCE_MS_MAX);
  }

  function ended(code: number): void {
    clearTimeout(silence);
    socket = null;
    if (stopped) return;
    if (code === UNAUTHORISED) {
      setToken(null);
      return;
    }
    lost = true;
    connection.value = "offline";
    timer = window.setTimeout(connect, retry_ms);
    retry_ms = Math.min(retry_ms * 2, RETRY_MS_MAX);
  }

  function hurry(): void {
    if (connection.peek() !== "offline") return;
    clearTimeout(timer);
    connect();
  }

  connect();
  window.addEventListener("online", hurry);
  return () => {
    stopped = true;
    clearTimeout(timer);
    clearTimeout(silence);
    window.removeEventListener("online", hurry);
    socket?.close();
  };
}
