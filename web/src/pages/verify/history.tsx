import type { JSX } from 'preact';
import { useMemo } from 'preact/hooks';
import type { Proofs } from '../../api/storage';
import { bytes, count, duration } from '../../format';
import { Badge, Moment } from '../../ui/parts';
import { type Column, Table } from '../../ui/table';
import { type Past, history } from './model';

const COLUMNS: readonly Column<Past>[] = [
  { name: 'Ended', cell: (past) => <Moment at={past.at} />, value: (past) => past.at },
  { name: 'Of', cell: (past) => past.of, value: (past) => past.of },
  {
    name: 'Outcome',
    cell: (past) => (past.good ? <Badge state="good">good</Badge> : <Badge state="bad">mismatch</Badge>),
    value: (past) => (past.good ? 'good' : 'mismatch'),
  },
  { name: 'Took', cell: (past) => duration(past.seconds), value: (past) => past.seconds, numeric: true },
  {
    name: 'Read',
    cell: ({ of, covered }) =>
      of === 'one block' ? '1 block' : `${count(covered.things)}${covered.things < covered.of ? ` of ${count(covered.of)}` : ''} ${of === 'log' ? 'file' : 'block'}${covered.things === 1 ? '' : 's'}`,
    value: (past) => past.covered.things,
    numeric: true,
  },
  { name: 'Bytes', cell: (past) => (past.covered.bytes > 0 ? bytes(past.covered.bytes) : ''), value: (past) => past.covered.bytes, numeric: true },
  { name: 'Samples', cell: (past) => count(past.covered.samples), value: (past) => past.covered.samples, numeric: true },
  { name: 'Note', cell: (past) => <span class="note mono">{past.note}</span>, value: (past) => past.note },
];

/** The proofs since the start. */
export function History(props: { proofs: Proofs }): JSX.Element {
  const rows = useMemo(() => history(props.proofs), [props.proofs]);
  return (
    <div class="past">
      <Table
        label="Proofs since the start"
        columns={COLUMNS}
        rows={rows}
        keyOf={(past) => past.id}
        sortedBy="Ended"
        descending
        empty="No proof ended since the start."
      />
    </div>
  );
}
