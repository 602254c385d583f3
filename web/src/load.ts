/** Data of a view: fetched, kept on screen while it is fetched again, with the error if that failed. */

import type { Signal } from "@preact/signals";
import { useCallback, useEffect, useRef, useState } from "preact/hooks";
import { ApiError, get } from "./api";
import { changed } from "./stream";

export interface Load<T> {
  data: T | null;
  error: ApiError | null;
  reload: () => void;
}

/** `path` again whenever it or `by` changes; nothing while it is null. */
export function useLoad<T>(path: string | null, by: Signal<number> = changed): Load<T> {
  const [state, set] = useState<{ path: string | null; data: T | null; error: ApiError | null }>({
    path: null,
    data: null,
    error: null,
  });
  const [turn, setTurn] = useState(0);
  const newest = useRef(0);
  const reload = useCallback(() => setTurn((n) => n + 1), []);
  const tick = by.value;
  useEffect(() => {
    if (path === null) return;
    const mine = ++newest.current;
    get<T>(path).then(
      (data) => mine === newest.current && set({ path, data, error: null }),
      (error: ApiError) =>
        mine === newest.current &&
        set((old) => ({ path, data: old.path === path ? old.data : null, error })),
    );
  }, [path, turn, tick]);
  return { data: state.data, error: state.error, reload };
}
