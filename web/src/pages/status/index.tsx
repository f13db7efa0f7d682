//! Status: how the server is, what it is, how it was configured, and what it does by itself.

import type { JSX } from 'preact';
import { call } from '../../api/client';
import { place, setParams } from '../../router';
import { health, healthError } from '../../state/health';
import { useResource } from '../../state/resource';
import { Facts, Loaded, Moment, Panel, Tabs } from '../../ui/parts';
import { HealthTab } from './health';
import { clockAhead } from './settings';
import { ApiTab, ConfigTab, FlagsTab, QueriesTab, TasksTab } from './tables';
import type { BuildInfo, ConfigAnswer, FullHealth, RuntimeInfo } from './types';
import './status.css';

const RUNTIME_INTERVAL_MS = 10_000;

const TABS = [
  ['health', 'Health'],
  ['build', 'Build'],
  ['runtime', 'Runtime'],
  ['flags', 'Flags'],
  ['config', 'Config'],
  ['tasks', 'Maintenance'],
  ['queries', 'Queries'],
  ['api', 'API'],
] as const;
type Tab = (typeof TABS)[number][0];

export default function Status(): JSX.Element {
  const asked = place.value.params.get('tab');
  const tab = TABS.find(([id]) => id === asked)?.[0] ?? 'health';
  const change = (next: Tab): void => setParams({ tab: next === 'health' ? undefined : next, search: undefined, changed: undefined });
  return (
    <div class="page-status">
      <Tabs label="Status" tabs={TABS} active={tab} onChange={change} />
      <Shown tab={tab} />
    </div>
  );
}

function Shown(props: { tab: Tab }): JSX.Element {
  const full = health.value as FullHealth | undefined;
  switch (props.tab) {
    case 'health':
      return <WithRuntime>{(runtime) => <HealthTab health={full} fault={healthError.value} runtime={runtime} />}</WithRuntime>;
    case 'runtime':
      return (
        <Panel title="Runtime">
          <WithRuntime>{(runtime) => <Loaded of={runtime}>{({ info }) => <Facts rows={runtimeRows(info)} />}</Loaded>}</WithRuntime>
        </Panel>
      );
    case 'build':
      return <BuildTab />;
    case 'flags':
      return <WithConfig>{(config) => <FlagsTab config={config} />}</WithConfig>;
    case 'config':
      return <WithConfig>{(config) => <ConfigTab config={config} />}</WithConfig>;
    case 'tasks':
      return <TasksTab tasks={full?.maintenance} />;
    case 'queries':
      return <QueriesTab />;
    case 'api':
      return <ApiTab />;
  }
}

type Runtime = ReturnType<typeof useRuntime>;

function useRuntime() {
  return useResource(
    'runtime',
    async (signal) => {
      const askedMs = Date.now();
      const { data: info } = await call<RuntimeInfo>('api/v1/status/runtimeinfo', {}, { signal });
      return { info, aheadSeconds: clockAhead(info.serverTime, askedMs, Date.now()) };
    },
    RUNTIME_INTERVAL_MS,
  );
}

function WithRuntime(props: { children: (runtime: Runtime) => JSX.Element }): JSX.Element {
  return props.children(useRuntime());
}

function WithConfig(props: { children: (config: ConfigAnswer) => JSX.Element }): JSX.Element {
  const config = useResource('config', (signal) => call<ConfigAnswer>('api/v1/status/config', {}, { signal }));
  return <Loaded of={config}>{({ data }) => props.children(data)}</Loaded>;
}

function runtimeRows(info: RuntimeInfo): readonly (readonly [string, string | JSX.Element])[] {
  return [
    ['Started', <Moment at={info.startTime} />],
    ['Host', info.hostname],
    ['Working directory', info.CWD],
    ['Processors', String(info.GOMAXPROCS)],
    ['Configuration read', <Moment at={info.lastConfigTime} />],
    ['Last reload', info.reloadConfigSuccess ? 'succeeded' : 'failed'],
    ['Damages found at the start', String(info.corruptionCount)],
  ];
}

function BuildTab(): JSX.Element {
  const build = useResource('build', (signal) => call<BuildInfo>('api/v1/status/buildinfo', {}, { signal }));
  return (
    <Panel title="Build">
      <Loaded of={build}>
        {({ data }) => (
          <Facts
            rows={[
              ['Program', `${data.application} ${data.applicationVersion}`],
              ['API of Prometheus', data.version],
              ...(data.revision === '' ? [] : [['Revision', data.revision] as const]),
              ...(data.buildDate === '' ? [] : [['Built', data.buildDate] as const]),
            ]}
          />
        )}
      </Loaded>
      <p class="quiet">Clients choose their calls by the version of Prometheus’ API that the server is tested against.</p>
    </Panel>
  );
}
