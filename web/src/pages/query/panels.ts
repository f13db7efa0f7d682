//! The queries of the page and their address: whichever changes, the other follows.

import { signal } from '@preact/signals';
import { navigate, place } from '../../router';
import { DEFAULTS, PANELS_MAX, type PanelState, decodePanels, encodePanels } from './url';

export interface Panel extends PanelState {
  /** The same while the page lives, whatever stands before it. */
  readonly id: number;
}

let ids = 0;
const fresh = (state: PanelState): Panel => ({ ...state, id: ++ids });

/** A page that no link describes begins with a graph. */
const first = (): Panel => fresh({ ...DEFAULTS, tab: 'graph' });

export const panels = signal<readonly Panel[]>([first()]);
/** All queries run again every few seconds. */
export const live = signal(false);

function encode(): URLSearchParams {
  const params = encodePanels(panels.value);
  if (live.value) params.set('live', '1');
  return params;
}

/** Takes over what the address says. */
export function readPlace(params: URLSearchParams): void {
  const states = decodePanels(params);
  if (states.length === 0) {
    // A link of the header: what stood here last stands here again.
    if (panels.value.some((panel) => panel.expr !== '')) navigate('query', encode(), 'replace');
    return;
  }
  if (params.toString() === encode().toString()) return;
  live.value = params.get('live') === '1';
  panels.value = states.map((state, index) => ({ ...state, id: panels.value[index]?.id ?? fresh(state).id }));
}

function write(next: readonly Panel[], how: 'push' | 'replace'): void {
  panels.value = next;
  const params = encode();
  if (params.toString() !== place.value.params.toString()) navigate('query', params, how);
}

export function update(id: number, changes: Partial<PanelState>, how: 'push' | 'replace' = 'push'): void {
  write(panels.value.map((panel) => (panel.id === id ? { ...panel, ...changes } : panel)), how);
}

export function add(after?: Panel): Panel | undefined {
  if (panels.value.length >= PANELS_MAX) return undefined;
  const last = panels.value.at(-1);
  const panel = fresh(after ?? { ...DEFAULTS, tab: last?.tab ?? 'graph', endMs: last?.endMs, rangeMs: last?.rangeMs ?? DEFAULTS.rangeMs });
  const at = after ? panels.value.findIndex(({ id }) => id === after.id) + 1 : panels.value.length;
  write([...panels.value.slice(0, at), panel, ...panels.value.slice(at)], 'push');
  return panel;
}

export function remove(id: number): void {
  const rest = panels.value.filter((panel) => panel.id !== id);
  write(rest.length > 0 ? rest : [first()], 'push');
}

export function setLive(on: boolean): void {
  live.value = on;
  write(panels.value, 'replace');
}
