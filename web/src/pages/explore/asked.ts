//! What is asked for, as the address has it.

import type { Params } from '../../api/client';
import { count } from '../../format';
import { labelName, selectorOf } from '../../selector';

export const LIMITS = [10, 20, 50, 100, 500, 1000] as const;
const LIMIT = 20;

export interface Asked {
  /** A selector; empty for all series. */
  readonly match: string;
  /** The label whose values are listed; empty for none. */
  readonly focus: string;
  readonly limit: number;
  /** Only metrics that no query named. */
  readonly unqueried: boolean;
}

export function askedOf(params: URLSearchParams): Asked {
  const limit = Number(params.get('limit'));
  return {
    match: params.get('match') ?? '',
    focus: params.get('focus') ?? '',
    limit: LIMITS.find((known) => known === limit) ?? LIMIT,
    unqueried: params.get('unqueried') === '1',
  };
}

/** The changes that make an address say what is asked; what is the default is left out. */
export function toAddress(asked: Asked): Record<string, string | undefined> {
  return {
    match: asked.match.trim() || undefined,
    focus: asked.focus.trim() || undefined,
    limit: asked.limit === LIMIT ? undefined : String(asked.limit),
    unqueried: asked.unqueried ? '1' : undefined,
  };
}

export function toRequest(asked: Asked): Params {
  return {
    'match[]': asked.match === '' ? undefined : asked.match,
    focus: asked.focus === '' ? undefined : asked.focus,
    limit: asked.limit,
    unqueried: asked.unqueried ? true : undefined,
  };
}

/** The query that counts the series of a selector, by the label in focus where there is one. */
export function countQuery(labels: Readonly<Record<string, string>>, focus: string): string {
  const by = focus === '' || focus === '__name__' ? '' : ` by (${labelName(focus)})`;
  return `count${by} (${selectorOf(labels)})`;
}

/** How much of a list is there: `20 of 529`. */
export function cut(shown: number, total: number): string {
  return shown < total ? `${count(shown)} of ${count(total)}` : count(total);
}
