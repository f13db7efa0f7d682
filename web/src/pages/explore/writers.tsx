//! Who created the series of the head.

import type { JSX } from 'preact';
import { call } from '../../api/client';
import { count, percent } from '../../format';
import { hrefOf } from '../../router';
import { useResource } from '../../state/resource';
import { Loaded, Panel } from '../../ui/parts';
import { type Column, Table } from '../../ui/table';
import { type WriterRow, type WritersAnswer, whoText } from '../ingest/types';

const ROWS = 10;

export function Writers(props: { headSeries: number }): JSX.Element {
  const writers = useResource('writers by series', (signal) =>
    call<WritersAnswer>('api/v1/storage/writers', { limit: ROWS, sort: 'active_series' }, { signal }));
  const columns: readonly Column<WriterRow>[] = [
    { name: 'Writer', cell: (row) => <span class="who">{whoText(row)}</span>, value: whoText },
    { name: 'Series', numeric: true, cell: (row) => count(row.active_series), value: (row) => row.active_series },
    { name: 'Share', numeric: true, title: 'Of the series of the head', cell: (row) => percent(row.active_series, props.headSeries) },
    { name: 'Most of them', cell: (row) => row.metrics[0] && <span class="who">{row.metrics[0].metric}</span>, value: (row) => row.metrics[0]?.metric ?? '' },
  ];
  return (
    <Panel title="Writers by series" actions={<a href={hrefOf('ingest')}>All of them</a>}>
      <Loaded of={writers}>
        {({ data }) => (
          <Table
            label="Writers"
            columns={columns}
            rows={data.writers.filter((row) => row.active_series > 0)}
            keyOf={whoText}
            sortedBy="Series"
            descending
            empty="Who created the series is not known: they were there when the server started."
          />
        )}
      </Loaded>
    </Panel>
  );
}
