//! The answer of `storage/cardinality`.

import type { Time } from '../../api/storage';

export interface MetricRow {
  readonly name: string;
  readonly series: number;
  /** Queries that named it since the start. */
  readonly queries: number;
  readonly last_queried: Time | null;
}

export interface LabelRow {
  readonly name: string;
  readonly values: number;
  readonly series: number;
}

export interface PairRow {
  readonly name: string;
  readonly value: string;
  readonly series: number;
}

export interface Focus {
  readonly name: string;
  readonly values_total: number;
  readonly values: readonly { readonly value: string; readonly series: number }[];
}

export interface Cardinality {
  /** Since when queries and created series are counted. */
  readonly since: Time;
  readonly min_time: Time | null;
  readonly max_time: Time | null;
  readonly head_series: number;
  readonly series: number;
  readonly metric_names: number;
  readonly label_names: number;
  readonly metrics_total: number;
  readonly metrics: readonly MetricRow[];
  readonly labels: readonly LabelRow[];
  readonly pairs_total: number;
  readonly pairs: readonly PairRow[];
  readonly focus: Focus | null;
  readonly created: readonly { readonly hour: Time; readonly series: number }[];
}
