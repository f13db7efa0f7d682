//! Keys of the whole console. Those of one letter are off while somebody types.

import { type Page, navigate } from '../router';
import { changeTheme } from '../state/settings';

const PAGE_KEYS: Record<string, Page> = { q: 'query', e: 'explore', s: 'storage', v: 'verify', i: 'ingest', t: 'status' };
/** How long after `g` a page's letter counts. */
const SEQUENCE_MS = 1_500;

/** Whether what a key does belongs to what it is typed into. */
export function isTyping(target: EventTarget | null): boolean {
  if (!(target instanceof HTMLElement)) return false;
  const inner = target.shadowRoot?.activeElement;
  const element = inner instanceof HTMLElement ? inner : target;
  return element.isContentEditable || ['INPUT', 'TEXTAREA', 'SELECT'].includes(element.tagName);
}

export function startKeys(help: () => void): () => void {
  let sequenceUntil = 0;
  const onKey = (event: KeyboardEvent): void => {
    if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || isTyping(event.target)) return;
    const page = PAGE_KEYS[event.key];
    if (page && event.timeStamp < sequenceUntil) {
      sequenceUntil = 0;
      event.preventDefault();
      navigate(page);
      return;
    }
    sequenceUntil = event.key === 'g' ? event.timeStamp + SEQUENCE_MS : 0;
    if (event.key === '?') help();
    else if (event.key === 'd') changeTheme();
  };
  addEventListener('keydown', onKey);
  return () => removeEventListener('keydown', onKey);
}
