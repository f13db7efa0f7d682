//! Runs a query: one at a time, the one before it is given up.

import { useEffect, useRef, useState } from 'preact/hooks';
import type { Answer } from '../../api/client';
import { type QueryData, query, queryRange } from '../../api/prom';
import { live } from './panels';
import { type PanelState, stepMsOf } from './url';

/** How often queries run again while they are live. */
export const LIVE_MS = 5_000;

export interface Outcome {
  readonly kind: 'instant' | 'range';
  /** The run that it is of. */
  readonly key: string;
  /** What was asked. */
  readonly expr: string;
  readonly startMs: number;
  readonly endMs: number;
  readonly stepMs: number;
  readonly answer: Answer<QueryData>;
  /** From the request to the parsed answer. */
  readonly tookMs: number;
}

export interface Run {
  readonly outcome: Outcome | undefined;
  /** Whether the outcome is that of an older query, as the newest one was stopped or failed. */
  readonly isOfBefore: boolean;
  readonly error: Error | undefined;
  /** The query that `error` is about. */
  readonly failed: string;
  readonly isRunning: boolean;
  /** How often it was asked to run. */
  readonly attempt: number;
  readonly again: () => void;
  readonly stop: () => void;
}

async function ask(kind: Outcome['kind'], key: string, panel: PanelState, signal: AbortSignal): Promise<Outcome> {
  const begun = performance.now();
  const endMs = panel.endMs ?? Date.now();
  const stepMs = stepMsOf(panel.resolution, panel.rangeMs);
  const startMs = kind === 'range' ? endMs - panel.rangeMs : endMs;
  const answer =
    kind === 'range' ? await queryRange(panel.expr, startMs, endMs, stepMs, signal) : await query(panel.expr, endMs, signal);
  return { kind, key, expr: panel.expr, startMs, endMs, stepMs, answer, tookMs: performance.now() - begun };
}

/** The newest outcome of a panel's query; an older one stays while the next is awaited. */
export function useRun(panel: PanelState, kind: Outcome['kind'] | 'none'): Run {
  const [state, setState] = useState<{ outcome?: Outcome; asked?: string; error?: Error; failed: string; isRunning: boolean }>({ failed: '', isRunning: false });
  const [attempt, setAttempt] = useState(0);
  const running = useRef<AbortController>();
  const current = useRef(panel);
  current.current = panel;

  // A graph's range and step are no matter of a table's.
  const span = kind === 'range' ? `${panel.rangeMs} ${stepMsOf(panel.resolution, panel.rangeMs)}` : '';
  const key = [kind, panel.endMs ?? 'now', span, panel.expr].join('|');
  useEffect(() => {
    if (kind === 'none') {
      setState({ failed: '', isRunning: false });
      return;
    }
    if (panel.expr.trim() === '') {
      setState({ failed: '', isRunning: false });
      return;
    }
    const abort = new AbortController();
    running.current = abort;
    setState((before) => ({ ...before, asked: key, isRunning: true }));
    ask(kind, key, current.current, abort.signal).then(
      (outcome) => !abort.signal.aborted && setState({ outcome, asked: key, failed: '', isRunning: false }),
      (error: unknown) => {
        if (abort.signal.aborted) return;
        const reason = error instanceof Error ? error : new Error(String(error));
        setState((before) => ({ ...before, error: reason, failed: panel.expr, isRunning: false }));
      },
    );
    return () => abort.abort();
  }, [key, attempt]);

  // The next one is timed from the end of the last, so that slow queries do not pile up.
  const isLive = live.value && kind !== 'none';
  useEffect(() => {
    if (!isLive || state.isRunning) return;
    const again = (): void => {
      if (!document.hidden) setAttempt((count) => count + 1);
    };
    const timer = setInterval(again, LIVE_MS);
    return () => clearInterval(timer);
  }, [isLive, state.isRunning, attempt]);

  const outcome = state.outcome?.kind === kind ? state.outcome : undefined;
  return {
    outcome,
    // Not by the key of now, whose run begins only after it was rendered.
    isOfBefore: outcome !== undefined && outcome.key !== state.asked && !state.isRunning,
    error: state.error,
    failed: state.failed,
    isRunning: state.isRunning,
    attempt,
    again: () => setAttempt((count) => count + 1),
    stop: () => {
      running.current?.abort();
      setState((before) => ({ ...before, isRunning: false }));
    },
  };
}
