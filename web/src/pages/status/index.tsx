import type { JSX } from 'preact';
import { call } from '../../api/client';
import { useResource } from '../../state/resource';
import { Loaded, Panel } from '../../ui/parts';

export default function Status(): JSX.Element {
  const answer = useResource('status', (signal) => call<unknown>('api/v1/status/buildinfo', {}, { signal }));
  return (
    <Panel title="Build">
      <Loaded of={answer}>{({ data }) => <pre>{JSON.stringify(data, null, 2)}</pre>}</Loaded>
    </Panel>
  );
}
