//! Metrics, labels, pairs and values, each with the series that it has.

import type { ComponentChildren, JSX } from 'preact';
import { count, percent } from '../../format';
import { hrefOf, setParams } from '../../router';
import { selectorOf } from '../../selector';
import { Moment, Panel, download } from '../../ui/parts';
import { Share } from '../../ui/spark';
import { type Column, Table, toCsv } from '../../ui/table';
import { type Asked, LIMITS, countQuery, cut, toAddress } from './asked';
import type { Cardinality, Focus, LabelRow, MetricRow, PairRow } from './types';

export function change(asked: Asked, changes: Partial<Asked>): void {
  setParams(toAddress({ ...asked, ...changes }));
}

/** A name that narrows the page to itself. */
function Narrow(props: { onClick: () => void; title: string; children: ComponentChildren }): JSX.Element {
  return <button type="button" class="link" title={props.title} onClick={props.onClick}>{props.children}</button>;
}

function ToQuery(props: { query: string; what: string }): JSX.Element {
  const label = `Count ${props.what} on the page Query`;
  return <a class="to-query" href={hrefOf('query', { 'g0.expr': props.query, 'g0.tab': 'table' })} aria-label={label} title={props.query}>›</a>;
}

function seriesColumns<Row extends { readonly series: number }>(whole: number): readonly Column<Row>[] {
  return [
    { name: 'Series', numeric: true, cell: (row) => count(row.series), value: (row) => row.series },
    {
      name: 'Share',
      title: 'Of the series that are selected',
      cell: (row) => <span class="share-cell"><Share part={row.series} whole={whole} /> {percent(row.series, whole)}</span>,
    },
  ];
}

interface PartProps {
  readonly data: Cardinality;
  readonly asked: Asked;
}

/** A table in a panel that says how much of it is there, gives more, and gives it as a file. */
function Part<Row>(props: {
  readonly title: string;
  readonly total: number;
  readonly rows: readonly Row[];
  readonly columns: readonly Column<Row>[];
  readonly keyOf: (row: Row) => string;
  readonly asked: Asked;
  readonly sortedBy: string;
  readonly empty: string;
  readonly actions?: ComponentChildren;
}): JSX.Element {
  const { rows, total, asked } = props;
  const more = LIMITS.find((limit) => limit > asked.limit);
  return (
    <Panel
      title={props.title}
      actions={
        <>
          {props.actions}
          <span class="quiet">{cut(rows.length, total)}</span>
          {rows.length < total && more !== undefined && (
            <button type="button" onClick={() => change(asked, { limit: more })}>Show {more}</button>
          )}
          {rows.length > 0 && (
            <button type="button" onClick={() => download(`${props.title.toLowerCase()}.csv`, 'text/csv', toCsv(props.columns, rows))}>CSV</button>
          )}
        </>
      }
    >
      <Table label={`${props.title} by ${props.sortedBy.toLowerCase()}`} columns={props.columns} rows={rows} keyOf={props.keyOf} sortedBy={props.sortedBy} descending empty={props.empty} />
    </Panel>
  );
}

export function Metrics({ data, asked }: PartProps): JSX.Element {
  const columns: readonly Column<MetricRow>[] = [
    {
      name: 'Metric',
      cell: (row) => (
        <Narrow title="Only its series" onClick={() => change(asked, { match: selectorOf({ __name__: row.name }) })}>{row.name}</Narrow>
      ),
      value: (row) => row.name,
    },
    ...seriesColumns<MetricRow>(data.series),
    {
      name: 'Queries',
      numeric: true,
      title: 'Queries since the start that name the metric; a selector by pattern names none',
      cell: (row) => count(row.queries),
      value: (row) => row.queries,
    },
    { name: 'Last queried', cell: (row) => <Moment at={row.last_queried} relative />, value: (row) => row.last_queried ?? '' },
    { name: 'Query', cell: (row) => <ToQuery query={countQuery({ __name__: row.name }, asked.focus)} what={row.name} /> },
  ];
  return (
    <Part
      title="Metrics"
      total={data.metrics_total}
      rows={data.metrics}
      columns={columns}
      keyOf={(row) => row.name}
      asked={asked}
      sortedBy="Series"
      empty={asked.unqueried && data.metric_names > 0 ? 'Every metric was named by a query.' : 'No series.'}
      actions={
        <label>
          <input type="checkbox" checked={asked.unqueried} onChange={(event) => change(asked, { unqueried: event.currentTarget.checked })} />
          Never queried
        </label>
      }
    />
  );
}

export function LabelNames({ data, asked }: PartProps): JSX.Element {
  const columns: readonly Column<LabelRow>[] = [
    {
      name: 'Label',
      cell: (row) => <Narrow title="Its values" onClick={() => change(asked, { focus: row.name })}>{row.name}</Narrow>,
      value: (row) => row.name,
    },
    { name: 'Values', numeric: true, cell: (row) => count(row.values), value: (row) => row.values },
    ...seriesColumns<LabelRow>(data.series),
  ];
  return (
    <Part title="Labels" total={data.label_names} rows={data.labels} columns={columns} keyOf={(row) => row.name} asked={asked} sortedBy="Values" empty="No labels." />
  );
}

export function Pairs({ data, asked }: PartProps): JSX.Element {
  const columns: readonly Column<PairRow>[] = [
    {
      name: 'Label and value',
      cell: (row) => (
        <Narrow title="Only these series" onClick={() => change(asked, { match: selectorOf({ [row.name]: row.value }) })}>
          {row.name}={row.value}
        </Narrow>
      ),
      value: (row) => `${row.name}=${row.value}`,
    },
    ...seriesColumns<PairRow>(data.series),
    { name: 'Query', cell: (row) => <ToQuery query={countQuery({ [row.name]: row.value }, asked.focus)} what={`${row.name}=${row.value}`} /> },
  ];
  return (
    <Part title="Label pairs" total={data.pairs_total} rows={data.pairs} columns={columns} keyOf={(row) => JSON.stringify([row.name, row.value])} asked={asked} sortedBy="Series" empty="No labels." />
  );
}

export function FocusValues(props: PartProps & { focus: Focus }): JSX.Element {
  const { data, asked, focus } = props;
  const columns: readonly Column<Focus['values'][number]>[] = [
    {
      name: 'Value',
      cell: (row) => (
        <Narrow title="Only these series" onClick={() => change(asked, { match: selectorOf({ [focus.name]: row.value }) })}>{row.value}</Narrow>
      ),
      value: (row) => row.value,
    },
    ...seriesColumns<Focus['values'][number]>(data.series),
    { name: 'Query', cell: (row) => <ToQuery query={countQuery({ [focus.name]: row.value }, '')} what={`${focus.name}=${row.value}`} /> },
  ];
  return (
    <Part
      title={`Values of ${focus.name}`}
      total={focus.values_total}
      rows={focus.values}
      columns={columns}
      keyOf={(row) => row.value}
      asked={asked}
      sortedBy="Series"
      empty="No selected series has this label."
      actions={<button type="button" onClick={() => change(asked, { focus: '' })}>Close</button>}
    />
  );
}
