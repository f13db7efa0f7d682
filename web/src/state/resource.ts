//! Data of the server that a part of a page shows: asked for again at an interval while somebody looks, and old data stays
//! while a newer answer is awaited or failed.

import { useEffect, useRef, useState } from 'preact/hooks';

export interface Resource<T> {
  readonly data: T | undefined;
  /** Why the newest attempt failed; data of an earlier one may stand beside it. */
  readonly error: Error | undefined;
  readonly loading: boolean;
  readonly refresh: () => void;
}

/**
 * Loads when `key` changes, and then every `intervalMs` while the page is visible (never again if that is 0).
 * `load` gets a signal that ends the request when nobody waits for it any more.
 */
export function useResource<T>(
  key: string,
  load: (signal: AbortSignal) => Promise<T>,
  intervalMs = 0,
): Resource<T> {
  const [state, setState] = useState<{ key: string; data?: T; error?: Error; loading: boolean }>({ key, loading: true });
  const [attempt, setAttempt] = useState(0);
  const current = useRef(load);
  current.current = load;

  useEffect(() => {
    const abort = new AbortController();
    let timer: ReturnType<typeof setTimeout> | undefined;
    // Whether it was not asked because nobody looked.
    let isDue = false;
    setState((before) =>
      before.key === key ? { ...before, loading: true } : { key, loading: true },
    );
    const run = async (): Promise<void> => {
      timer = undefined;
      isDue = document.hidden;
      if (!isDue) {
        try {
          const data = await current.current(abort.signal);
          if (!abort.signal.aborted) setState({ key, data, loading: false });
        } catch (error) {
          if (abort.signal.aborted) return;
          const reason = error instanceof Error ? error : new Error(String(error));
          setState((before) => ({ ...before, error: reason, loading: false }));
        }
      }
      if (intervalMs > 0 && !abort.signal.aborted) timer = setTimeout(run, intervalMs);
    };
    void run();
    const onVisible = (): void => {
      if (!document.hidden && (isDue || timer !== undefined)) {
        clearTimeout(timer);
        void run();
      }
    };
    document.addEventListener('visibilitychange', onVisible);
    return () => {
      abort.abort();
      clearTimeout(timer);
      document.removeEventListener('visibilitychange', onVisible);
    };
  }, [key, intervalMs, attempt]);

  const isCurrent = state.key === key;
  return {
    data: isCurrent ? state.data : undefined,
    error: isCurrent ? state.error : undefined,
    loading: !isCurrent || state.loading,
    refresh: () => setAttempt((count) => count + 1),
  };
}
