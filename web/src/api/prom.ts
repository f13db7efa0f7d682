//! Prometheus' query API: what is asked, and what comes back.

import type { Labels } from '../selector';
import { type Answer, call } from './client';

/** Seconds and the value's text, which alone tells NaN, infinities and all digits. */
export type Point = readonly [number, string];
/** Which bounds are inclusive, lower, upper, count. */
export type Bucket = readonly [number, string, string, string];

export interface Histogram {
  readonly count: string;
  readonly sum: string;
  readonly buckets?: readonly Bucket[];
}

export type HistogramPoint = readonly [number, Histogram];

export interface VectorSeries {
  readonly metric: Labels;
  readonly value?: Point;
  readonly histogram?: HistogramPoint;
}

export interface MatrixSeries {
  readonly metric: Labels;
  readonly values?: readonly Point[];
  readonly histograms?: readonly HistogramPoint[];
}

export interface Stats {
  readonly timings: {
    readonly evalTotalTime: number;
    readonly queryPreparationTime: number;
    readonly innerEvalTime: number;
    readonly resultSortTime: number;
    readonly execQueueTime: number;
    readonly execTotalTime: number;
  };
  readonly samples: { readonly totalQueryableSamples: number; readonly peakSamples: number };
}

export type QueryData = { readonly stats?: Stats } & (
  | { readonly resultType: 'vector'; readonly result: readonly VectorSeries[] }
  | { readonly resultType: 'matrix'; readonly result: readonly MatrixSeries[] }
  | { readonly resultType: 'scalar' | 'string'; readonly result: Point }
);

export interface ExemplarSeries {
  readonly seriesLabels: Labels;
  readonly exemplars: readonly { readonly labels: Labels; readonly value: string; readonly timestamp: number }[];
}

const seconds = (ms: number): string => String(ms / 1000);

/** `limit` bounds the series of the result; the answer warns where there are more. */
export function query(expr: string, timeMs: number, signal: AbortSignal, limit?: number): Promise<Answer<QueryData>> {
  return call('api/v1/query', { query: expr, time: seconds(timeMs), stats: 'true', limit }, { method: 'POST', signal });
}

export function queryRange(expr: string, startMs: number, endMs: number, stepMs: number, signal: AbortSignal): Promise<Answer<QueryData>> {
  const params = { query: expr, start: seconds(startMs), end: seconds(endMs), step: seconds(stepMs), stats: 'true' };
  return call('api/v1/query_range', params, { method: 'POST', signal });
}

export function queryExemplars(expr: string, startMs: number, endMs: number, signal: AbortSignal): Promise<Answer<readonly ExemplarSeries[] | undefined>> {
  return call('api/v1/query_exemplars', { query: expr, start: seconds(startMs), end: seconds(endMs) }, { method: 'POST', signal });
}

export async function formatQuery(expr: string): Promise<string> {
  return (await call<string>('api/v1/format_query', { query: expr }, { method: 'POST' })).data;
}
