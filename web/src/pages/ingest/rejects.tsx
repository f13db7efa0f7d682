//! What was refused: how much for each reason, and the newest of it in the server's words.

import type { JSX } from 'preact';
import { useState } from 'preact/hooks';
import { call } from '../../api/client';
import { count, time } from '../../format';
import { selectorOf } from '../../selector';
import { useResource } from '../../state/resource';
import { zone } from '../../state/settings';
import { Loaded, Moment, Panel } from '../../ui/parts';
import { type Column, Table } from '../../ui/table';
import { PROTOCOLS } from './protocols';
import { ADVICE, type ReasonRow, byReason } from './reasons';
import { type Reject, type RejectsAnswer, whoText } from './types';

const INTERVAL_MS = 5_000;
/** Entries of the journal that are asked for. */
const ENTRIES = 50;

const ENTRY_COLUMNS: readonly Column<Reject>[] = [
  { name: 'When', cell: (row) => <Moment at={row.time} relative />, value: (row) => row.time },
  { name: 'Reason', cell: (row) => row.reason, value: (row) => row.reason },
  { name: 'Who', cell: (row) => whoText(row), value: whoText },
  { name: 'By', cell: (row) => PROTOCOLS[row.protocol] ?? row.protocol, value: (row) => row.protocol },
  {
    name: 'Series',
    cell: (row) => row.labels && <code>{selectorOf(row.labels)}</code>,
    value: (row) => row.labels && selectorOf(row.labels),
  },
  {
    name: 'Sample',
    cell: (row) =>
      row.sample_time !== null && (
        <>
          <code>{row.value ?? 'histogram'}</code> at {time(Date.parse(row.sample_time), zone.value)}
        </>
      ),
    value: (row) => row.value,
  },
  { name: 'Detail', cell: (row) => <span class="detail">{row.detail}</span>, value: (row) => row.detail },
];

export function Rejects(): JSX.Element {
  const [reason, setReason] = useState<string>();
  const totals = useResource(
    'rejects',
    (signal) => call<RejectsAnswer>('api/v1/storage/rejects', { limit: 1 }, { signal }),
    INTERVAL_MS,
  );
  const journal = useResource(
    `rejects ${reason ?? ''}`,
    (signal) => call<RejectsAnswer>('api/v1/storage/rejects', { limit: ENTRIES, reason }, { signal }),
    INTERVAL_MS,
  );
  const columns: readonly Column<ReasonRow>[] = [
    {
      name: 'Reason',
      cell: (row) => (
        <button type="button" class="link" aria-pressed={row.reason === reason} onClick={() => setReason(row.reason === reason ? undefined : row.reason)}>
          {row.reason}
        </button>
      ),
      value: (row) => row.reason,
    },
    { name: 'Refused', numeric: true, cell: (row) => `${count(row.refused)} ${row.refused === 1 ? row.of.slice(0, -1) : row.of}`, value: (row) => row.refused },
    { name: 'Writers', numeric: true, cell: (row) => count(row.writers), value: (row) => row.writers },
    { name: 'Last', cell: (row) => <Moment at={row.last} relative />, value: (row) => row.last },
    { name: 'What to do', cell: (row) => <span class="quiet">{ADVICE[row.reason] ?? ''}</span> },
  ];
  return (
    <Panel title="Rejects by reason">
      <Loaded of={totals}>
        {({ data }) => (
          <Table
            label="Reasons"
            columns={columns}
            rows={byReason(data.totals)}
            keyOf={(row) => row.reason}
            selected={reason}
            empty="Nothing was refused since the server started."
          />
        )}
      </Loaded>
      <Loaded of={journal}>
        {({ data }) =>
          data.rejects.length > 0 && (
            <details open={reason !== undefined}>
              <summary>
                The newest {data.rejects.length === 1 ? 'one' : data.rejects.length}
                {reason !== undefined && ` for ${reason}`}
              </summary>
              <Table
                label="Newest rejects"
                columns={ENTRY_COLUMNS}
                rows={data.rejects}
                keyOf={(row) => `${row.time} ${row.reason} ${whoText(row)} ${row.detail} ${row.labels ? selectorOf(row.labels) : ''}`}
              />
            </details>
          )
        }
      </Loaded>
    </Panel>
  );
}
