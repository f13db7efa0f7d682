//! Log, head and disk in figures.

import type { JSX } from 'preact';
import type { Blocks, HeadStatus, Log, StorageStatus } from '../../api/storage';
import { ago, bytes, count, duration, percent, short } from '../../format';
import { hrefOf } from '../../router';
import { Badge, Facts, Moment } from '../../ui/parts';

/** Files of the log beyond which only the newest are drawn. */
const CELLS_MAX = 120;

export function LogPanel(props: { log: Log }): JSX.Element {
  const { log } = props;
  const segments = log.segments ?? [];
  const drawn = segments.slice(-CELLS_MAX);
  const latency = log.syncs > 0 ? duration(log.sync_seconds / log.syncs) : '–';
  return (
    <>
      <p class="row">
        {log.failure !== null ? <Badge state="bad">{`cannot be written: ${log.failure}`}</Badge> : <Badge state="good">written</Badge>}
        <strong>{bytes(log.disk_usage_bytes)}</strong>
        <span class="quiet">{`in ${count(segments.length || log.total_segments)} file${(segments.length || log.total_segments) === 1 ? '' : 's'}`}</span>
      </p>
      {segments.length > drawn.length && <p class="quiet">{count(segments.length - drawn.length)} older ones are not drawn.</p>}
      <ul class="segments" aria-label="Files of the log">
        {drawn.map((segment) => {
          const name = `${segment.state === 'checkpoint' ? 'checkpoint ' : ''}${String(segment.number).padStart(8, '0')}`;
          const groups = segment.groups ? `, groups ${count(segment.groups[0])} to ${count(segment.groups[1])}` : '';
          const words = segment.state === 'open' ? 'being written' : segment.state === 'checkpoint' ? 'what older segments held and is still needed' : 'finished';
          return (
            <li key={name} class={segment.state} title={`${name}: ${bytes(segment.bytes)}, ${words}${groups}`}>
              <span aria-hidden="true">{segment.state === 'open' ? '▸' : segment.state === 'checkpoint' ? '◆' : '■'}</span>
              <span class="unseen">{`${name}, ${words}, `}</span> {bytes(segment.bytes)}
            </li>
          );
        })}
      </ul>
      <Facts
        rows={[
          ['Durability', log.durability],
          ['Last commit', log.last_commit === 0 ? 'none yet' : `${count(log.last_commit)}, group ${count(log.last_group)}`],
          ['Last made durable', <Moment at={log.last_flush} relative />],
          ['A sync takes', <span title={`The mean of ${count(log.syncs)} since the start`}>{latency}</span>],
          ['Requests for each sync', log.syncs > 0 ? short(log.requests / log.syncs) : '–'],
          ['Waiting requests', count(log.unprocessed_entries)],
          ['Failed syncs', count(log.sync_failures)],
        ]}
      />
    </>
  );
}

export function HeadPanel(props: { head: HeadStatus; flags: Record<string, string> }): JSX.Element {
  const { head, flags } = props;
  const [from, to] = [head.min_time, head.max_time].map((at) => (at === null ? NaN : Date.parse(at))) as [number, number];
  const parts: readonly (readonly [string, number])[] = [
    ['Texts', head.symbol_bytes],
    ['Label pairs', head.pair_bytes],
    ['Postings', head.postings_bytes],
    ['Rows of series', head.row_bytes],
    ['Labels of series', head.label_bytes],
    ['Open chunks', head.open_chunk_bytes],
    ['Full chunks', head.full_chunk_bytes],
  ];
  const all = parts.reduce((sum, [, size]) => sum + size, 0);
  return (
    <>
      <p class="row">
        <strong>{count(head.series)}</strong> series
        <strong>{count(head.samples)}</strong> samples
        {head.chunk_write_failures + head.damaged_chunk_reads > 0 && (
          <Badge state="bad">{`${count(head.chunk_write_failures)} chunk writes failed, ${count(head.damaged_chunk_reads)} damaged reads`}</Badge>
        )}
      </p>
      <Facts
        rows={[
          ['From', head.min_time === null ? '–' : <Moment at={head.min_time} />],
          ['To', head.max_time === null ? '–' : <Moment at={head.max_time} />],
          ['That is', Number.isFinite(to - from) ? duration((to - from) / 1000) : '–'],
          ['Chunks', `${count(head.chunks)}, ${count(head.chunks_in_files)} in files`],
          ['Out-of-order window', flags['head.out-of-order-time-window'] ?? '–'],
          ['Out-of-order samples', head.out_of_order_samples === undefined ? '–' : count(head.out_of_order_samples)],
          ['Labels', `${count(head.label_names)} names, ${count(head.label_pairs)} pairs`],
        ]}
      />
      <details>
        <summary>Memory: {bytes(all)} in parts that are counted</summary>
        <Facts rows={parts.map(([name, size]) => [name, `${bytes(size)} · ${percent(size, all)}`] as const)} />
      </details>
    </>
  );
}

export function DiskPanel(props: { status: StorageStatus; blocks: Blocks | undefined }): JSX.Element {
  const { disk, retention } = props.status;
  const reserve = { held: 'held', off: 'off', no_room: 'no room for it', unknown: 'not looked at yet' }[disk.reserve];
  const next = retention?.next;
  const goes = next && props.blocks?.blocks.find((block) => block.ulid === next.ulid);
  const used = disk.blocks_bytes + disk.wal_and_head_bytes;
  return (
    <>
      <p class="row">
        <strong>{bytes(used)}</strong> used
        {disk.free_bytes !== null && <span class="quiet">{bytes(disk.free_bytes)} free</span>}
      </p>
      <div class="share" role="img" aria-label={`Blocks take ${bytes(disk.blocks_bytes)}, log and head ${bytes(disk.wal_and_head_bytes)}`}>
        <svg width="100%" height="10" preserveAspectRatio="none" viewBox="0 0 100 10" aria-hidden="true">
          <rect class="of-blocks" x="0" y="0" height="10" width={used > 0 ? (100 * disk.blocks_bytes) / used : 0} />
          <rect class="of-log" x={used > 0 ? (100 * disk.blocks_bytes) / used : 0} y="0" height="10" width={used > 0 ? (100 * disk.wal_and_head_bytes) / used : 0} />
        </svg>
      </div>
      <Facts
        rows={[
          ['■ Blocks', `${bytes(disk.blocks_bytes)}, ${count(props.status.blocks.served)} served`],
          ['□ Log and head', bytes(disk.wal_and_head_bytes)],
          ['Reserve', reserve],
          ['Flushed up to', <Moment at={props.status.blocks.flushed_up_to} />],
          ['Keeps', retention?.time_seconds ? duration(retention.time_seconds) : 'for ever'],
          [
            'Size',
            retention?.size_bytes ? `${percent(disk.blocks_bytes, retention.size_bytes)} of ${bytes(retention.size_bytes)}` : 'not bounded',
          ],
        ]}
      />
      {next && (
        <p class="quiet">
          Next to go: <a class="mono" href={hrefOf('storage', { block: next.ulid })}>{next.ulid.slice(0, 4)}…{next.ulid.slice(-6)}</a>
          {goes && ` (${bytes(goes.disk_usage_bytes)})`}
          {next.not_before !== null && `, ${ago(Date.parse(next.not_before), Date.now())} at the earliest`}
          {retention?.size_bytes ? ', or when the size is reached' : ''}
        </p>
      )}
    </>
  );
}
