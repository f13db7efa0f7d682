//! Who sends: the writers with the most series, and which metrics these are of.

import type { JSX } from 'preact';
import { useState } from 'preact/hooks';
import { count } from '../../format';
import { hrefOf } from '../../router';
import { selectorOf } from '../../selector';
import type { Resource } from '../../state/resource';
import { Loaded, Moment, Panel } from '../../ui/parts';
import { type Column, Table } from '../../ui/table';
import { PROTOCOLS } from './protocols';
import { type WriterMetric, type WriterRow, type WritersAnswer, whoText } from './types';

const METRIC_COLUMNS: readonly Column<WriterMetric>[] = [
  {
    name: 'Metric',
    cell: (row) => <a href={hrefOf('explore', { match: selectorOf({ __name__: row.metric }) })}>{row.metric}</a>,
    value: (row) => row.metric,
  },
  { name: 'Series', numeric: true, cell: (row) => count(row.series), value: (row) => row.series },
  {
    name: 'One of them',
    cell: (row) => row.example && <code>{selectorOf(row.example)}</code>,
    value: (row) => row.example && selectorOf(row.example),
  },
];

export function Writers(props: { of: Resource<{ readonly data: WritersAnswer }> }): JSX.Element {
  const [chosen, setChosen] = useState<string>();
  const columns: readonly Column<WriterRow>[] = [
    {
      name: 'Writer',
      title: 'Address, program and credential; choose one to see its metrics',
      cell: (row) => (
        <button type="button" class="link" aria-pressed={chosen === whoText(row)} onClick={() => setChosen(chosen === whoText(row) ? undefined : whoText(row))}>
          {whoText(row)}
        </button>
      ),
      value: whoText,
    },
    {
      name: 'Speaks',
      cell: (row) => row.protocols.map((name) => PROTOCOLS[name] ?? name).join(', '),
      value: (row) => row.protocols.join(' '),
    },
    { name: 'Active series', numeric: true, title: 'Series of the head that it was the first to send', cell: (row) => count(row.active_series), value: (row) => row.active_series },
    { name: 'Created', numeric: true, title: 'Series since the start, with those that have left the head', cell: (row) => count(row.series_created), value: (row) => row.series_created },
    { name: 'Samples', numeric: true, cell: (row) => count(row.samples.added + row.samples.duplicate), value: (row) => row.samples.added + row.samples.duplicate },
    { name: 'Rejected', numeric: true, cell: (row) => count(row.samples.rejected), value: (row) => row.samples.rejected },
    { name: 'Last request', cell: (row) => <Moment at={row.last_request} relative />, value: (row) => row.last_request },
  ];
  return (
    <Panel title="Writers">
      <Loaded of={props.of}>
        {({ data }) => {
          const writer = data.writers.find((row) => whoText(row) === chosen);
          return (
            <>
              <Table
                label="All writers"
                columns={columns}
                rows={data.writers}
                keyOf={whoText}
                sortedBy="Active series"
                descending
                selected={chosen}
                empty="Nobody has sent anything since the server started."
              />
              {data.before_start.active_series > 0 && (
                <p class="quiet">
                  {count(data.before_start.active_series)} active series were there when the server started; who created them is not known.
                </p>
              )}
              {writer && (
                <div class="of-writer">
                  <h3>Most series of {whoText(writer)}</h3>
                  <Table
                    label="Metrics of the writer"
                    columns={METRIC_COLUMNS}
                    rows={writer.metrics}
                    keyOf={(row) => row.metric}
                    empty="None of the head’s series are its own: others sent them first, or they have left the head."
                  />
                </div>
              )}
            </>
          );
        }}
      </Loaded>
    </Panel>
  );
}
