//! Settings, tasks and queries as tables.

import type { JSX } from 'preact';
import { call } from '../../api/client';
import { count, duration } from '../../format';
import { hrefOf, place, setParams } from '../../router';
import { useResource } from '../../state/resource';
import { Badge, Copy, Loaded, Moment, Panel } from '../../ui/parts';
import { type Column, Table } from '../../ui/table';
import { ENDPOINTS, type Endpoint, linkOf } from './endpoints';
import { filtered, isChanged } from './settings';
import type { TaskStatus } from '../../api/storage';
import type { ConfigAnswer, Query, Setting } from './types';

const ACTIVE_INTERVAL_MS = 2_000;
const SLOW_INTERVAL_MS = 10_000;

const SETTING_COLUMNS: readonly Column<Setting>[] = [
  { name: 'Flag', cell: (row) => <code>--{row.key.replaceAll('_', '-')}</code>, value: (row) => row.key },
  { name: 'Value', cell: (row) => <code>{row.value}</code>, value: (row) => row.value },
  { name: 'Default', cell: (row) => (isChanged(row) ? <code>{row.default}</code> : <span class="quiet">same</span>), value: (row) => row.default },
  { name: 'From', cell: (row) => (isChanged(row) ? row.origin : <span class="quiet">default</span>), value: (row) => row.origin },
  { name: 'What it does', cell: (row) => <span class="quiet help">{row.help}</span>, value: (row) => row.help },
];

export function FlagsTab(props: { config: ConfigAnswer }): JSX.Element {
  const { params } = place.value;
  const [search, onlyChanged] = [params.get('search') ?? '', params.get('changed') === '1'];
  const settings = props.config.settings ?? [];
  const shown = filtered(settings, search, onlyChanged);
  return (
    <Panel title="Flags">
      <div class="row">
        <label>
          Search
          <input
            type="search"
            value={search}
            onInput={(event) => setParams({ search: event.currentTarget.value || undefined }, 'replace')}
          />
        </label>
        <label>
          <input
            type="checkbox"
            checked={onlyChanged}
            onChange={(event) => setParams({ changed: event.currentTarget.checked ? '1' : undefined }, 'replace')}
          />
          Changed from the default
        </label>
        <span class="quiet" role="status">{shown.length} of {settings.length}</span>
      </div>
      <Table label="Every flag" columns={SETTING_COLUMNS} rows={shown} keyOf={(row) => row.key} empty={settings.length === 0 ? 'Not available in this build of the server.' : 'Nothing matches.'} />
    </Panel>
  );
}

export function ConfigTab(props: { config: ConfigAnswer }): JSX.Element {
  return (
    <Panel title="Configuration" actions={<Copy text={props.config.yaml} />}>
      <p class="quiet">Every key with the value that is in force; keys of the configuration file have the same names.</p>
      <pre class="config" tabIndex={0} aria-label="Configuration">{props.config.yaml}</pre>
    </Panel>
  );
}

function taskState(task: TaskStatus): JSX.Element {
  if (task.alarm !== null) return <Badge state="bad">{task.alarm}</Badge>;
  if (task.running_for_seconds !== null) return <Badge state="busy">for {duration(task.running_for_seconds)}</Badge>;
  if (task.consecutive_failures > 0) return <Badge state="warn">failed {task.consecutive_failures} times</Badge>;
  return task.last_run === null ? <Badge state="none">not yet</Badge> : <Badge state="good">well</Badge>;
}

const TASK_COLUMNS: readonly Column<TaskStatus>[] = [
  { name: 'Task', cell: (row) => row.task.replaceAll('_', ' '), value: (row) => row.task },
  { name: 'State', cell: taskState, value: (row) => row.alarm ?? row.consecutive_failures },
  { name: 'Last run', cell: (row) => <Moment at={row.last_run} relative />, value: (row) => row.last_run },
  {
    name: 'Took',
    numeric: true,
    cell: (row) => (row.last_duration_seconds === null ? '' : duration(row.last_duration_seconds)),
    value: (row) => row.last_duration_seconds,
  },
  { name: 'Next run', cell: (row) => <Moment at={row.next_run} relative />, value: (row) => row.next_run },
  { name: 'Runs', numeric: true, cell: (row) => count(row.runs), value: (row) => row.runs },
  { name: 'Failures', numeric: true, cell: (row) => count(row.failures), value: (row) => row.failures },
  {
    name: 'Last work, last error',
    cell: (row) => (
      <span class="help">
        {row.last_error !== null && <strong class="bad">{row.last_error} </strong>}
        {row.last_work && <>{row.last_work.what} <span class="quiet">(<Moment at={row.last_work.time} relative />)</span></>}
      </span>
    ),
    value: (row) => row.last_error ?? row.last_work?.what ?? null,
  },
];

export function TasksTab(props: { tasks: readonly TaskStatus[] | undefined }): JSX.Element {
  return (
    <Panel title="Maintenance tasks">
      {props.tasks ? (
        <Table label="Tasks" columns={TASK_COLUMNS} rows={props.tasks} keyOf={(row) => row.task} empty="Maintenance begins when the log is replayed." />
      ) : (
        <p class="loading">Loading …</p>
      )}
    </Panel>
  );
}

function queryColumns(isActive: boolean): readonly Column<Query>[] {
  return [
    {
      name: 'Query',
      cell: (row) => <a class="query" href={hrefOf('query', { 'g0.expr': row.query, 'g0.tab': row.step_seconds > 0 ? 'graph' : 'table' })}><code>{row.query}</code></a>,
      value: (row) => row.query,
    },
    ...(isActive ? [{ name: 'State', cell: (row: Query) => row.state, value: (row: Query) => row.state ?? null }] : []),
    { name: 'Took', numeric: true, cell: (row) => duration(row.elapsed_seconds), value: (row) => row.elapsed_seconds },
    { name: 'Began', cell: (row) => <Moment at={row.began} relative />, value: (row) => row.began },
    {
      name: 'Range',
      cell: (row) => row.step_seconds > 0
        ? `${duration((Date.parse(row.end) - Date.parse(row.start)) / 1000)} in steps of ${duration(row.step_seconds)}`
        : 'one time',
      value: (row) => Date.parse(row.end) - Date.parse(row.start),
    },
    ...(isActive ? [] : [
      { name: 'Series', numeric: true, cell: (row: Query) => (row.series === undefined ? '' : count(row.series)), value: (row: Query) => row.series ?? null },
      { name: 'Samples', numeric: true, cell: (row: Query) => (row.samples === undefined ? '' : count(row.samples)), value: (row: Query) => row.samples ?? null },
      { name: 'Error', cell: (row: Query) => row.error !== undefined && <strong class="bad">{row.error}</strong>, value: (row: Query) => row.error ?? null },
    ]),
  ];
}

const ACTIVE_COLUMNS = queryColumns(true);
const SLOW_COLUMNS = queryColumns(false);

export function QueriesTab(): JSX.Element {
  const ask = (path: string) => (signal: AbortSignal) => call<{ queries: readonly Query[] }>(path, {}, { signal });
  const active = useResource('active queries', ask('api/v1/status/active_queries'), ACTIVE_INTERVAL_MS);
  const slow = useResource('slow queries', ask('api/v1/status/slow_queries'), SLOW_INTERVAL_MS);
  return (
    <>
      <Panel title="Queries that wait and run">
        <Loaded of={active}>
          {({ data }) => <Table label="Active queries" columns={ACTIVE_COLUMNS} rows={data.queries} keyOf={(row) => String(row.id)} empty="None." />}
        </Loaded>
      </Panel>
      <Panel title="Slowest since the start">
        <Loaded of={slow}>
          {({ data }) => (
            <Table label="Slow queries" columns={SLOW_COLUMNS} rows={data.queries} keyOf={(row) => `${row.began} ${row.elapsed_seconds} ${row.query}`} sortedBy="Took" descending empty="No query ran yet." />
          )}
        </Loaded>
      </Panel>
    </>
  );
}

const ENDPOINT_COLUMNS: readonly Column<Endpoint>[] = [
  { name: 'Path', cell: (row) => <a href={linkOf(row)} target="_blank" rel="noreferrer"><code>/{row.path}</code></a> },
  { name: 'Answers', cell: (row) => row.shows },
];

export function ApiTab(): JSX.Element {
  return (
    <div class="apis">
      {ENDPOINTS.map(([name, endpoints]) => (
        <Panel key={name} title={name}>
          <Table label={`Endpoints: ${name}`} columns={ENDPOINT_COLUMNS} rows={endpoints} keyOf={(row) => row.path} />
        </Panel>
      ))}
    </div>
  );
}
