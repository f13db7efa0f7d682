//! Keys of the Query page. They are about the query that was worked on last.

import { isTyping } from '../../shell/keys';
import { nextRange } from './inputs';
import { type Panel, live, panels, setLive, update } from './panels';
import { rounded } from './spans';

const shift = (panel: Panel, byMs: number): void => update(panel.id, { endMs: rounded((panel.endMs ?? Date.now()) + byMs, panel.rangeMs) });

const KEYS: Record<string, (panel: Panel) => void> = {
  '[': (panel) => shift(panel, -panel.rangeMs / 2),
  ']': (panel) => shift(panel, panel.rangeMs / 2),
  '+': (panel) => update(panel.id, { rangeMs: nextRange(panel.rangeMs, false) }),
  '-': (panel) => update(panel.id, { rangeMs: nextRange(panel.rangeMs, true) }),
  t: (panel) => update(panel.id, { tab: 'table' }),
  r: (panel) => update(panel.id, { tab: 'raw' }),
  l: () => setLive(!live.value),
};

/** Where a query is typed: the plain field, or what can be typed into within the editor. */
function fieldOf(id: number): HTMLElement | null {
  const field = document.querySelector<HTMLElement>(`[data-panel="${id}"] [data-query]`);
  return field?.shadowRoot?.querySelector<HTMLElement>('.cm-content') ?? field;
}

export function startQueryKeys(active: () => number | undefined): () => void {
  const onKey = (event: KeyboardEvent): void => {
    if (event.defaultPrevented) return;
    const panel = panels.value.find(({ id }) => id === active()) ?? panels.value[0];
    if (!panel || event.altKey || isTyping(event.target)) return;
    if (event.key === 'Enter' && (event.ctrlKey || event.metaKey)) {
      for (const button of document.querySelectorAll<HTMLElement>('.query button.run:not(.stop)')) button.click();
      event.preventDefault();
      return;
    }
    if (event.ctrlKey || event.metaKey) return;
    if (event.key === '/') {
      fieldOf(panel.id)?.focus();
      event.preventDefault();
      return;
    }
    KEYS[event.key]?.(panel);
  };
  addEventListener('keydown', onKey);
  return () => removeEventListener('keydown', onKey);
}
