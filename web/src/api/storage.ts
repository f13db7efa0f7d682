//! The answers of our own endpoints, as far as more than one page reads them. Times are RFC 3339, in UTC.

export type Time = string;

/** A count of samples and the digest over them. */
export interface Tally {
  readonly samples: number;
  readonly digest: string;
}

/** Whether this is the difference of two things that are the same. */
export function isZero(tally: Tally): boolean {
  return tally.samples === 0 && /^0*$/.test(tally.digest);
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
  /** Files of the log that were read, and their bytes. */
  readonly segments: number;
  readonly bytes: number;
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
  readonly maintenance?: readonly TaskStatus[];
}

/** A task that runs by itself. */
export interface TaskStatus {
  readonly task: string;
  readonly last_run: Time | null;
  readonly last_duration_seconds: number | null;
  readonly next_run: Time;
  readonly running_for_seconds: number | null;
  readonly last_work: { readonly time: Time; readonly what: string } | null;
  readonly last_error: string | null;
  readonly consecutive_failures: number;
  readonly runs: number;
  readonly failures: number;
  readonly alarm: string | null;
}

/** A check of a block, which reads all of it. */
export interface BlockCheck {
  readonly ulid: string;
  readonly time: Time;
  readonly duration_seconds: number;
  readonly good: boolean;
  readonly stored: Tally;
  readonly visible: Tally;
  readonly recorded: Tally | null;
  readonly series: number;
  readonly chunks: number;
  readonly findings: readonly string[];
}

export interface Block {
  readonly ulid: string;
  readonly state: 'served';
  readonly min_time: Time | null;
  readonly max_time: Time | null;
  readonly level: number;
  readonly from_out_of_order: boolean;
  readonly sources: readonly string[];
  readonly parents: readonly string[];
  readonly series: number;
  readonly chunks: number;
  readonly samples: number;
  readonly disk_usage_bytes: number;
  readonly tombstones: number;
  readonly accelerated: boolean;
  readonly compactable: boolean;
  readonly recorded: Tally | null;
  readonly last_check: BlockCheck | null;
}

/** A block that is not served. */
export interface LostBlock {
  readonly ulid: string;
  readonly state: 'quarantined' | 'unreadable';
  readonly min_time: Time | null;
  readonly max_time: Time | null;
  readonly reason: string;
  readonly found: Time | null;
  readonly covered_by_others: boolean;
}

/** `storage/blocks` */
export interface Blocks {
  readonly blocks: readonly Block[];
  readonly lost: readonly LostBlock[];
}

export interface Segment {
  readonly number: number;
  readonly state: 'checkpoint' | 'finished' | 'open';
  readonly bytes: number;
  /** First and last group, as far as a proof or a start has read it. */
  readonly groups: readonly [number, number] | null;
}

/** `storage/wal` */
export interface Log extends LogStatus {
  readonly segments?: readonly Segment[];
}

/** What a finding is about; `name` is a segment's number or a block's ULID. */
export interface Proven {
  readonly kind: 'ledger' | 'head' | 'log' | 'segment' | 'checkpoint' | 'block';
  readonly name: string;
}

export interface Finding {
  readonly what: string;
  readonly first_seen: Time;
  readonly last_seen: Time;
}

export interface OpenFindings {
  readonly object: Proven;
  readonly findings: readonly Finding[];
  /** Findings of the last check that are not listed. */
  readonly more: number;
}

export interface ClosedFinding extends Finding {
  readonly object: Proven;
  readonly closed: Time;
  readonly closed_by: 'proof' | 'removal';
}

export interface ChecksUnderWay {
  readonly by: 'scrub' | 'request';
  readonly since: Time;
  readonly ulid: string | null;
  readonly blocks_done: number;
  readonly blocks_total: number;
  readonly bytes_done: number;
  readonly bytes_total: number;
  readonly damaged: number;
  readonly stopping: boolean;
}

/** A check of all blocks that somebody asked for. */
export interface BlockRun {
  readonly time: Time;
  readonly duration_seconds: number;
  readonly good: boolean;
  readonly blocks: number;
  readonly blocks_total: number;
  readonly bytes: number;
  readonly samples: number;
  readonly damaged: number;
  readonly stopped: boolean;
}

export interface LogCoverage {
  readonly time: Time;
  readonly group: number;
  readonly segments: readonly {
    readonly number: number;
    readonly checkpoint: boolean;
    readonly bytes: number;
    readonly records: number;
    readonly groups: readonly [number, number] | null;
  }[];
}

export interface Job {
  readonly what: string;
  readonly since: Time;
}

/** `status/verify` */
export interface Proofs {
  /** Newest first. */
  readonly log: readonly LogProof[];
  readonly log_under_way: { readonly since: Time; readonly bytes_done: number; readonly bytes_total: number } | null;
  readonly log_coverage: LogCoverage | null;
  readonly ledger_imbalance: Tally;
  /** The last check of each block. */
  readonly blocks: readonly BlockCheck[];
  readonly blocks_not_checked: readonly string[];
  readonly blocks_under_way: readonly ChecksUnderWay[];
  /** Newest first. */
  readonly block_runs: readonly BlockRun[];
  readonly open_findings: readonly OpenFindings[];
  /** Newest first, since the start. */
  readonly closed_findings: readonly ClosedFinding[];
  readonly under_way: readonly Job[];
}

/** `storage/head` */
export interface HeadStatus {
  readonly min_time: Time | null;
  readonly max_time: Time | null;
  readonly series: number;
  readonly samples: number;
  readonly chunks: number;
  readonly chunks_in_memory: number;
  readonly chunks_in_files: number;
  readonly out_of_order_samples?: number;
  readonly chunk_write_failures: number;
  readonly damaged_chunk_reads: number;
  readonly symbols: number;
  readonly label_pairs: number;
  readonly label_names: number;
  readonly symbol_bytes: number;
  readonly pair_bytes: number;
  readonly postings_bytes: number;
  readonly row_bytes: number;
  readonly label_bytes: number;
  readonly open_chunk_bytes: number;
  readonly full_chunk_bytes: number;
}

/** Counts of the ledger. */
export interface LedgerStatus {
  readonly stored: Tally;
  readonly flushed: Tally;
  readonly adopted: Tally;
  readonly deleted: Tally;
  readonly expired: Tally;
  readonly deduplicated: Tally;
  readonly quarantined: Tally;
  readonly left_log_in_order: Tally;
  readonly left_log_out_of_order: Tally;
  readonly imbalance: Tally;
  readonly left_log_requests: number;
}

/** `storage/status`, as far as it is read. */
export interface StorageStatus {
  readonly data_dir: string;
  readonly alarms: readonly Alarm[];
  readonly blocks: { readonly served: number; readonly disk_usage_bytes: number; readonly flushed_up_to: Time | null };
  readonly disk: {
    readonly free_bytes: number | null;
    readonly blocks_bytes: number;
    readonly wal_and_head_bytes: number;
    readonly reserve: 'unknown' | 'off' | 'held' | 'no_room';
  };
  readonly retention?: {
    readonly time_seconds: number | null;
    readonly size_bytes: number | null;
    readonly next: { readonly ulid: string; readonly not_before: Time | null } | null;
  };
  readonly ledger: LedgerStatus;
  readonly maintenance: readonly TaskStatus[];
  readonly under_way: readonly Job[];
}

export interface Compaction {
  readonly time: Time;
  readonly duration_seconds: number;
  readonly reason: string;
  readonly parents: readonly string[];
  readonly child: string | null;
  readonly stored: Tally;
  readonly deleted: Tally;
  readonly deduplicated: Tally;
  readonly conflicts: number;
  readonly error: string | null;
}
