//! What the editor asks the server for while somebody types: never without a limit, never twice at once, not twice for the same.

import type { Completion, CompletionContext, CompletionResult } from '@codemirror/autocomplete';
import { type PrometheusClient, newCompleteStrategy } from '@prometheus-io/codemirror-promql';
import type { Matcher } from '@prometheus-io/codemirror-promql/dist/esm/types';
import { EqlRegex, Neq, NeqRegex } from '@prometheus-io/lezer-promql';
import { call } from '../../api/client';
import { labelName, quoted, selectorOf } from '../../selector';

/** Names asked for at once; whoever has more types one more letter. */
export const LIMIT = 1_000;
const CACHE_MAX = 200;
const CACHE_MS = 60_000;

interface Kept<T> {
  readonly value: T;
  readonly atMs: number;
}

/** The server's names, for the grammar's completion. */
export class NamesClient implements PrometheusClient {
  /** In order of use, oldest first. */
  private readonly cache = new Map<string, Kept<unknown>>();
  private readonly running = new Map<string, AbortController>();
  /** Whether the newest list was cut. */
  isCut = false;

  async metricNames(prefix = ''): Promise<string[]> {
    const match = prefix === '' ? [] : [`{__name__=~${quoted(`${escapeRegex(prefix)}.*`)}}`];
    return this.list('metrics', 'api/v1/label/__name__/values', match);
  }

  async labelNames(metric = ''): Promise<string[]> {
    const names = await this.list('labels', 'api/v1/labels', metric === '' ? [] : [selectorOf({ __name__: metric })]);
    return names.filter((name) => name !== '__name__');
  }

  async labelValues(label: string, metric = '', matchers: Matcher[] = []): Promise<string[]> {
    const selector = matching(metric, matchers.filter((matcher) => matcher.name !== label));
    return this.list('values', `api/v1/label/${encodeURIComponent(label)}/values`, selector === '' ? [] : [selector]);
  }

  async metricMetadata(): Promise<Record<string, { type: string; help: string }[]>> {
    return (await this.get<Record<string, { type: string; help: string }[]>>('metadata', 'api/v1/metadata', [])) ?? {};
  }

  async series(): Promise<Map<string, string>[]> {
    return [];
  }

  async flags(): Promise<Record<string, string>> {
    return {};
  }

  destroy(): void {
    for (const abort of this.running.values()) abort.abort();
  }

  private async list(kind: string, path: string, match: string[]): Promise<string[]> {
    const values = (await this.get<string[]>(kind, path, match)) ?? [];
    this.isCut = values.length >= LIMIT;
    return values;
  }

  /** An answer; nothing where another question came before it, or it failed: completion is a help, not a duty. */
  private async get<T>(kind: string, path: string, match: string[]): Promise<T | undefined> {
    const key = [path, ...match].join('\n');
    const kept = this.cache.get(key) as Kept<T> | undefined;
    if (kept && Date.now() - kept.atMs < CACHE_MS) {
      this.cache.delete(key);
      this.cache.set(key, kept);
      return kept.value;
    }
    this.running.get(kind)?.abort();
    const abort = new AbortController();
    this.running.set(kind, abort);
    try {
      const { data } = await call<T>(path, { 'match[]': match, limit: LIMIT }, { signal: abort.signal });
      this.cache.delete(key);
      this.cache.set(key, { value: data, atMs: Date.now() });
      for (const oldest of this.cache.keys()) {
        if (this.cache.size <= CACHE_MAX) break;
        this.cache.delete(oldest);
      }
      return data;
    } catch {
      return undefined;
    } finally {
      if (this.running.get(kind) === abort) this.running.delete(kind);
    }
  }
}

export function escapeRegex(text: string): string {
  return text.replace(/[\\^$.*+?()[\]{}|]/g, '\\$&');
}

/** A selector of what stands in the braces already; the values are as they are typed, with their escapes. */
export function matching(metric: string, matchers: readonly Pick<Matcher, 'type' | 'name' | 'value'>[]): string {
  const operator = (type: number): string => (type === Neq ? '!=' : type === EqlRegex ? '=~' : type === NeqRegex ? '!~' : '=');
  const inner = matchers.filter(({ name, value }) => name !== '' && value !== '').map(({ type, name, value }) => `${labelName(name)}${operator(type)}"${value}"`);
  if (metric === '') return inner.length === 0 ? '' : `{${inner.join(',')}}`;
  const selector = selectorOf({ __name__: metric });
  // A name in braces takes the others in with it.
  if (selector.endsWith('}')) return `{${[selector.slice(1, -1), ...inner].join(',')}}`;
  return inner.length === 0 ? selector : `${selector}{${inner.join(',')}}`;
}

/** Letters before a list comes unasked. */
const TYPED = /[^\s"'`{}()[\],=~!<>+*/%^@]{2,}$/;

/** The grammar's completion, only when it was asked for or something was typed, and saying where names are missing. */
export function completionSource(client: NamesClient): (context: CompletionContext) => Promise<CompletionResult | null> {
  const strategy = newCompleteStrategy({ remote: client, maxMetricsMetadata: LIMIT });
  return async (context) => {
    if (!context.explicit && !context.matchBefore(TYPED)) return null;
    client.isCut = false;
    const result = await strategy.promQL(context);
    if (!result || !client.isCut) return result;
    const section = { name: `The first ${LIMIT}, type on for others`, rank: 1 };
    const options = result.options.map((option: Completion) => (option.type === 'constant' || option.type === 'text' ? { ...option, section } : option));
    // Without `validFor` each letter asks again: the list of a shorter beginning lacks names.
    const { from, to } = result;
    return to === undefined ? { from, options } : { from, to, options };
  };
}
