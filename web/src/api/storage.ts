//! The answers of our own endpoints, as far as more than one page reads them. Times are RFC 3339, in UTC.

export type Time = string;

/** A count of samples and the digest over them. */
export interface Tally {
  readonly samples: number;
  readonly digest: string;
}

export interface Alarm {
  /** What it is about: a task of maintenance, `log`, `lost`, `verify` and others. */
  readonly about: string;
  readonly alarm: string;
}

export interface LogStatus {
  readonly durability: string;
  readonly unprocessed_entries: number;
  readonly total_segments: number;
  readonly disk_usage_bytes: number;
  readonly last_flush: Time | null;
  readonly poisoned: boolean;
  readonly failure: string | null;
  readonly open_segment: { readonly number: number; readonly bytes: number } | null;
  readonly last_group: number;
  readonly last_commit: number;
  readonly groups: number;
  readonly requests: number;
  readonly samples: number;
  readonly bytes_written: number;
  readonly syncs: number;
  readonly sync_failures: number;
  readonly sync_seconds: number;
}

/** A proof of the log. */
export interface LogProof {
  readonly time: Time;
  readonly duration_seconds: number;
  readonly good: boolean;
  readonly group: number;
  readonly log: Tally;
  readonly ledger_imbalance: Tally;
  readonly findings: readonly string[];
}

/** `/health`. What is absent is so while the log is replayed. */
export interface Health {
  readonly status: 'ok' | 'warning' | 'replaying' | 'degraded' | 'stopping';
  readonly version: string;
  readonly uptime_seconds: number;
  readonly alarms: readonly Alarm[];
  readonly wal?: LogStatus;
  readonly head?: { readonly series: number; readonly min_time: Time | null; readonly max_time: Time | null };
  readonly replay?: {
    readonly bytes_done: number;
    readonly bytes_total: number;
    readonly segment: number;
    readonly last_segment: number;
  };
  readonly last_verification?: LogProof | null;
}
