import type { JSX } from 'preact';
import { call } from '../../api/client';
import { useResource } from '../../state/resource';
import { Loaded, Panel } from '../../ui/parts';

export default function Explore(): JSX.Element {
  const answer = useResource('explore', (signal) => call<unknown>('api/v1/status/tsdb', {}, { signal }));
  return (
    <Panel title="Cardinality">
      <Loaded of={answer}>{({ data }) => <pre>{JSON.stringify(data, null, 2)}</pre>}</Loaded>
    </Panel>
  );
}
