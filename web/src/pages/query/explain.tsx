//! The explain tab: what a query is made of, what it would read, and what each part took.

import type { JSX } from 'preact';
import { useState } from 'preact/hooks';
import { call } from '../../api/client';
import { bytes, count, duration, time } from '../../format';
import { useResource } from '../../state/resource';
import { zone } from '../../state/settings';
import { Facts, Loaded } from '../../ui/parts';
import { type Column, Table } from '../../ui/table';
import { stepMsOf } from './url';
import { formatDuration } from './spans';
import { type PlanNode, treeOf } from './plan';
import type { SoloProps } from './views';

interface Selector {
  readonly selector: string;
  readonly series: number;
  readonly chunks: number;
  readonly samples: number;
  readonly bytes: number;
  readonly read: { readonly start_ms: number; readonly end_ms: number };
}

interface Plan {
  readonly plan: readonly PlanNode[];
  readonly selectors: readonly Selector[];
  readonly estimate: { readonly bytes: number; readonly samples: number };
  readonly limits: { readonly bytes: number; readonly samples: number };
  /** Why the query would not be run. */
  readonly refused: string | null;
  readonly steps: { readonly count: number };
  readonly run?: { readonly elapsed_seconds: number; readonly samples: number; readonly samples_peak: number };
}

const COLUMNS: readonly Column<Selector>[] = [
  { name: 'Selector', value: (row) => row.selector, cell: (row) => <code>{row.selector}</code> },
  { name: 'Series', numeric: true, value: (row) => row.series, cell: (row) => count(row.series) },
  { name: 'Chunks', numeric: true, value: (row) => row.chunks, cell: (row) => count(row.chunks) },
  { name: 'Samples', numeric: true, value: (row) => row.samples, cell: (row) => count(row.samples) },
  { name: 'Bytes', numeric: true, value: (row) => row.bytes, cell: (row) => bytes(row.bytes) },
  { name: 'From', value: (row) => row.read.start_ms, cell: (row) => time(row.read.start_ms, zone.value) },
  { name: 'To', value: (row) => row.read.end_ms, cell: (row) => time(row.read.end_ms, zone.value) },
];

export default function ExplainTab({ panel, attempt }: SoloProps): JSX.Element {
  const [isRange, setRange] = useState(true);
  const [isMeasured, setMeasured] = useState(false);
  const stepMs = stepMsOf(panel.resolution, panel.rangeMs);
  const key = JSON.stringify([panel.expr, panel.endMs, panel.rangeMs, stepMs, isRange, isMeasured, attempt]);
  const plan = useResource(key, async (signal) => {
    const endMs = panel.endMs ?? Date.now();
    const span = isRange ? { start: (endMs - panel.rangeMs) / 1000, end: endMs / 1000, step: stepMs / 1000 } : { time: endMs / 1000 };
    const params = { query: panel.expr, ...span, analyze: isMeasured ? 'true' : undefined };
    return (await call<Plan>('api/v1/query_explain', params, { method: 'POST', signal })).data;
  });
  return (
    <div class="tab">
      <div class="row">
        <span class="joined" role="group" aria-label="As">
          <button type="button" aria-pressed={isRange} onClick={() => setRange(true)}>as a graph</button>
          <button type="button" aria-pressed={!isRange} onClick={() => setRange(false)}>as a table</button>
        </span>
        <label title="Runs the query and throws its result away">
          <input type="checkbox" checked={isMeasured} onChange={(event) => setMeasured(event.currentTarget.checked)} />
          measure each part
        </label>
        {isRange && <span class="quiet">over {formatDuration(panel.rangeMs)}, a point every {formatDuration(stepMs)}</span>}
      </div>
      <Loaded of={plan}>
        {(data) => (
          <>
            {data.refused !== null && <p class="error" role="alert">It would be refused: {data.refused}</p>}
            <ul class="plan">{treeOf(data.plan).map((node, at) => <Node key={at} node={node} />)}</ul>
            {data.selectors.length > 0 && <Table label="Selectors" columns={COLUMNS} rows={data.selectors} keyOf={(row) => row.selector} />}
            <Facts
              rows={[
                ['Points', count(data.steps.count)],
                ['Samples, about', `${count(data.estimate.samples)} of at most ${count(data.limits.samples)}`],
                ['Memory, about', `${bytes(data.estimate.bytes)} of at most ${bytes(data.limits.bytes)}`],
                ...(data.run ? ([['Took', duration(data.run.elapsed_seconds)], ['Samples read', count(data.run.samples)], ['Samples at once', count(data.run.samples_peak)]] as const) : []),
              ]}
            />
          </>
        )}
      </Loaded>
    </div>
  );
}

function Node({ node }: { node: ReturnType<typeof treeOf>[number] }): JSX.Element {
  const { text, elapsed_seconds: took, series, samples_read: samples } = node.node;
  const told = [
    ...(took === undefined ? [] : [duration(took)]),
    ...(series === undefined ? [] : [`${count(series)} series`]),
    ...(samples === undefined ? [] : [`${count(samples)} samples`]),
  ];
  return (
    <li>
      <span class="mono">{text}</span>
      {told.length > 0 && <span class="quiet"> · {told.join(' · ')}</span>}
      {node.children.length > 0 && <ul>{node.children.map((child, at) => <Node key={at} node={child} />)}</ul>}
    </li>
  );
}
