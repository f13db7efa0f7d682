import type { JSX } from 'preact';
import { call } from '../../api/client';
import { useResource } from '../../state/resource';
import { Loaded, Panel } from '../../ui/parts';

export default function Query(): JSX.Element {
  const answer = useResource('query', (signal) => call<unknown>('api/v1/label/__name__/values', {}, { signal }));
  return (
    <Panel title="Metrics">
      <Loaded of={answer}>{({ data }) => <pre>{JSON.stringify(data, null, 2)}</pre>}</Loaded>
    </Panel>
  );
}
