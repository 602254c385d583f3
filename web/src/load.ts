/** Data of a view: fetched, kept on screen while it is fetched again, with the error if that failed. */

import type { Signal } from "@preact/signals";
import { useCallback, useEffect, useRef, useState } from "preact/hooks";
import { ApiError, get } from "./api";
import { changed } from "./stream";

export interface Load<T> {
  data: T | null;
  error: ApiError | null;
  /** Fetch now; done once the answer, or the error, is there. */
  reload: () => Promise<void>;
}

interface State<T> {
  path: string | null;
  data: T | null;
  error: ApiError | null;
}

/** `path` again whenever it or `by` changes; nothing while it is null. */
export function useLoad<T>(path: string | null, by: Signal<number> = changed): Load<T> {
  const [state, set] = useState<State<T>>({ path: null, data: null, error: null });
  const newest = useRef(0);
  const reload = useCallback(async () => {
    if (path === null) return;
    const mine = ++newest.current;
    let told: (old: State<T>) => State<T>;
    try {
      const data = await get<T>(path);
      told = () => ({ path, data, error: null });
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      told = (old) => ({ path, data: old.path === path ? old.data : null, error });
    }
    // An older request may be answered later.
    if (mine === newest.current) set(told);
  }, [path]);
  const tick = by.value;
  useEffect(() => {
    reload();
  }, [reload, tick]);
  return { data: state.data, error: state.error, reload };
}
