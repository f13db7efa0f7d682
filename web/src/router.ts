//! Pages are one segment each, below whatever prefix the console is served, and everything else is in the query string.

import { signal } from '@preact/signals';

export const PAGES = ['query', 'explore', 'storage', 'verify', 'ingest', 'status'] as const;
export type Page = (typeof PAGES)[number];

export interface Place {
  readonly page: Page;
  readonly params: URLSearchParams;
}

/** The directory that the console and the API are served from, with its slash. */
export const BASE = new URL('.', location.href);

export function placeOf(url: URL): Place {
  const segment = url.pathname.slice(BASE.pathname.length);
  const page = PAGES.find((name) => name === segment) ?? 'query';
  return { page, params: url.searchParams };
}

/** Where the browser is. */
export const place = signal<Place>(placeOf(new URL(location.href)));

export function hrefOf(page: Page, params?: URLSearchParams | Record<string, string>): string {
  const query = new URLSearchParams(params).toString();
  return query === '' ? page : `${page}?${query}`;
}

/** Goes to a page. `replace` is for changes that are no step for the Back button, as while somebody types. */
export function navigate(
  page: Page,
  params?: URLSearchParams | Record<string, string>,
  how: 'push' | 'replace' = 'push',
): void {
  const url = new URL(hrefOf(page, params), BASE);
  if (how === 'push') history.pushState(null, '', url);
  else history.replaceState(null, '', url);
  place.value = placeOf(url);
}

/** Changes parameters of the page that is shown; `undefined` takes one away. */
export function setParams(changes: Record<string, string | undefined>, how: 'push' | 'replace' = 'push'): void {
  const params = new URLSearchParams(place.value.params);
  for (const [name, value] of Object.entries(changes)) {
    if (value === undefined) params.delete(name);
    else params.set(name, value);
  }
  navigate(place.value.page, params, how);
}

export function startRouter(): void {
  addEventListener('popstate', () => {
    place.value = placeOf(new URL(location.href));
  });
  // Links of the console are followed without loading it again; all others are the browser's.
  addEventListener('click', (event) => {
    if (event.defaultPrevented || event.button !== 0) return;
    if (event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
    const link = (event.target as Element | null)?.closest?.('a');
    if (!link || link.target !== '' || link.hasAttribute('download')) return;
    const url = new URL(link.href);
    const segment = url.pathname.slice(BASE.pathname.length);
    if (url.origin !== BASE.origin || !url.pathname.startsWith(BASE.pathname)) return;
    if (!PAGES.some((name) => name === segment)) return;
    // A place on the page that is shown is the browser's to go to.
    if (url.hash !== '' && url.pathname === location.pathname && url.search === location.search) return;
    event.preventDefault();
    history.pushState(null, '', url);
    place.value = placeOf(url);
    scrollTo(0, 0);
  });
}
