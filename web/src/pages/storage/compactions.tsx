import type { JSX } from 'preact';
import type { Compaction } from '../../api/storage';
import { count, duration } from '../../format';
import { hrefOf } from '../../router';
import { Badge, Moment } from '../../ui/parts';
import { type Column, Table } from '../../ui/table';

const COLUMNS: readonly Column<Compaction>[] = [
  { name: 'When', cell: (one) => <Moment at={one.time} />, value: (one) => one.time },
  { name: 'Why', cell: (one) => one.reason, value: (one) => one.reason },
  {
    name: 'Outcome',
    cell: (one) => (one.error === null ? <Badge state="good">done</Badge> : <Badge state="bad">refused</Badge>),
    value: (one) => (one.error === null ? 'done' : 'refused'),
  },
  { name: 'Took', cell: (one) => duration(one.duration_seconds), value: (one) => one.duration_seconds, numeric: true },
  { name: 'Blocks', cell: (one) => <span title={one.parents.join('\n')}>{count(one.parents.length)}</span>, value: (one) => one.parents.length, numeric: true },
  {
    name: 'Into',
    cell: (one) => (one.child === null ? '–' : <a class="mono" href={hrefOf('storage', { block: one.child })}>{one.child}</a>),
    value: (one) => one.child,
  },
  { name: 'Samples', cell: (one) => count(one.stored.samples), value: (one) => one.stored.samples, numeric: true },
  { name: 'Deleted', cell: (one) => count(one.deleted.samples), value: (one) => one.deleted.samples, numeric: true },
  { name: 'Twice', cell: (one) => count(one.deduplicated.samples), value: (one) => one.deduplicated.samples, numeric: true, title: 'Samples that two of the blocks had' },
  {
    name: 'Note',
    cell: (one) => <span class="work">{[one.conflicts > 0 ? `${count(one.conflicts)} conflicts` : '', one.error ?? ''].filter(Boolean).join('; ')}</span>,
    value: (one) => one.error,
  },
];

/** What was compacted since the start. */
export function Compactions(props: { compactions: readonly Compaction[] }): JSX.Element {
  return (
    <Table
      label="Compactions since the start"
      columns={COLUMNS}
      rows={props.compactions}
      keyOf={(one) => `${one.time} ${one.child ?? one.parents[0] ?? ''}`}
      sortedBy="When"
      descending
      empty="Nothing was compacted since the start."
    />
  );
}
