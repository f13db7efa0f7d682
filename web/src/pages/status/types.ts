//! What the page reads of `/health` and `status/*`.

import type { Alarm, Health, Time } from '../../api/storage';

/** `/health`, with what only this page shows. */
export interface FullHealth extends Health {
  readonly alarms: readonly Alarm[];
  readonly disk?: {
    readonly free_bytes: number | null;
    readonly blocks_bytes: number;
    readonly wal_and_head_bytes: number;
    readonly reserve: string;
  };
  readonly recovery?: {
    readonly mode: string;
    readonly replay_seconds: number;
    readonly segments: number;
    readonly records: number;
    readonly torn_tail: { readonly what: string } | null;
    readonly damages: readonly { readonly segment: number; readonly offset: number; readonly bytes: number; readonly what: string }[];
    readonly known_damages: number;
    readonly repair_failure: string | null;
  };
  readonly under_way?: readonly { readonly what: string; readonly since: Time }[];
}

export interface RuntimeInfo {
  readonly startTime: Time;
  readonly CWD: string;
  readonly hostname: string;
  readonly serverTime: Time;
  readonly reloadConfigSuccess: boolean;
  readonly lastConfigTime: Time;
  readonly corruptionCount: number;
  readonly GOMAXPROCS: number;
  readonly process?: {
    readonly resident_bytes: number | null;
    readonly anonymous_bytes: number | null;
    readonly memory_limit_bytes: number | null;
    readonly open_files: number | null;
    readonly open_files_max: number | null;
  };
}

export interface BuildInfo {
  readonly version: string;
  readonly revision: string;
  readonly buildDate: string;
  readonly application: string;
  readonly applicationVersion: string;
}

export interface Setting {
  readonly key: string;
  readonly value: string;
  readonly default: string;
  /** `default`, or who set it. */
  readonly origin: string;
  readonly help: string;
}

export interface ConfigAnswer {
  readonly yaml: string;
  readonly settings?: readonly Setting[];
}

/** A query that waits, runs, or ran. */
export interface Query {
  readonly query: string;
  readonly start: Time;
  readonly end: Time;
  readonly step_seconds: number;
  readonly began: Time;
  readonly elapsed_seconds: number;
  readonly id?: number;
  readonly state?: string;
  readonly series?: number;
  readonly samples?: number;
  readonly error?: string;
}
