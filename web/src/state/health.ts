//! The server's health, asked for once for all who show it.

import { signal } from '@preact/signals';
import { document as fetchDocument } from '../api/client';
import type { Health } from '../api/storage';

const INTERVAL_MS = 5_000;
/** While the server starts a person waits. */
const STARTING_INTERVAL_MS = 1_000;

/** The newest answer; `undefined` before the first. */
export const health = signal<Health | undefined>(undefined);
/** Why the newest attempt failed. */
export const healthError = signal<string | undefined>(undefined);

let timer: ReturnType<typeof setTimeout> | undefined;

/** Asks now, and from then on at the interval. */
export async function refreshHealth(): Promise<void> {
  clearTimeout(timer);
  if (!document.hidden) {
    try {
      health.value = await fetchDocument<Health>('health');
      healthError.value = undefined;
    } catch (error) {
      healthError.value = error instanceof Error ? error.message : String(error);
    }
  }
  clearTimeout(timer);
  const soon = healthError.value !== undefined || health.value?.status === 'replaying';
  timer = setTimeout(() => void refreshHealth(), soon ? STARTING_INTERVAL_MS : INTERVAL_MS);
}

export function startHealth(): void {
  void refreshHealth();
  document.addEventListener('visibilitychange', () => {
    if (!document.hidden) void refreshHealth();
  });
}
