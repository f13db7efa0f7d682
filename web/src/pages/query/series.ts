//! Series and values as texts: as PromQL writes them, and as people read them.

import type { Bucket, Histogram } from '../../api/prom';
import type { Labels } from '../../selector';

export interface SeriesParts {
  /** The metric's name. */
  readonly name: string;
  readonly labels: readonly (readonly [string, string])[];
}

export function seriesParts(metric: Labels): SeriesParts {
  const name = metric['__name__'] ?? '';
  const labels = Object.entries(metric).filter(([label]) => label !== '__name__');
  return { name, labels };
}

/** The labels that all of these have with the same value. */
export function commonLabels(metrics: readonly Labels[]): Labels {
  const [first, ...rest] = metrics;
  if (!first || rest.length === 0) return {};
  const common = new Map(Object.entries(first));
  for (const metric of rest) {
    for (const [name, value] of common) if (metric[name] !== value) common.delete(name);
    if (common.size === 0) break;
  }
  return Object.fromEntries(common);
}

/** The labels of a series without those that are told elsewhere. */
export function without(metric: Labels, hidden: Labels): Labels {
  return Object.fromEntries(Object.entries(metric).filter(([name]) => !Object.hasOwn(hidden, name)));
}

/** A value's number, with Prometheus' names for those that JSON has none for. */
export function parseValue(text: string): number {
  if (text === '+Inf' || text === 'Inf') return Infinity;
  if (text === '-Inf') return -Infinity;
  return Number(text);
}

/** A value that is no common number, in words; others as they came. */
export function valueText(text: string): string {
  if (text === 'NaN') return 'NaN (not a number)';
  if (text === '+Inf') return '+Inf (infinity)';
  return text === '-Inf' ? '-Inf (minus infinity)' : text;
}

export function histogramText(histogram: Histogram): string {
  const buckets = histogram.buckets?.length ?? 0;
  return `histogram: count ${histogram.count}, sum ${histogram.sum}, ${buckets} bucket${buckets === 1 ? '' : 's'}`;
}

/** A bucket's range in the notation of intervals. */
export function bucketText([bounds, lower, upper]: Bucket): string {
  const opening = bounds === 1 || bounds === 3 ? '[' : '(';
  const closing = bounds === 0 || bounds === 3 ? ']' : ')';
  return `${opening}${lower}, ${upper}${closing}`;
}

/** The bits of a value, which tell apart what its digits do not; empty for NaN, whose text does not say which one it is. */
export function bitsOf(text: string): string {
  const view = new DataView(new ArrayBuffer(8));
  const value = parseValue(text);
  if (Number.isNaN(value)) return '';
  view.setFloat64(0, value);
  return view.getBigUint64(0).toString(16).padStart(16, '0');
}
