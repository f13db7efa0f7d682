import type { JSX } from 'preact';
import { call } from '../../api/client';
import { useResource } from '../../state/resource';
import { Loaded, Panel } from '../../ui/parts';

export default function Storage(): JSX.Element {
  const answer = useResource('storage', (signal) => call<unknown>('api/v1/storage/wal', {}, { signal }));
  return (
    <Panel title="Log">
      <Loaded of={answer}>{({ data }) => <pre>{JSON.stringify(data, null, 2)}</pre>}</Loaded>
    </Panel>
  );
}
