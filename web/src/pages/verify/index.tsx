import type { JSX } from 'preact';
import { call } from '../../api/client';
import { useResource } from '../../state/resource';
import { Loaded, Panel } from '../../ui/parts';

export default function Verify(): JSX.Element {
  const answer = useResource('verify', (signal) => call<unknown>('api/v1/status/verify', {}, { signal }));
  return (
    <Panel title="Proofs">
      <Loaded of={answer}>{({ data }) => <pre>{JSON.stringify(data, null, 2)}</pre>}</Loaded>
    </Panel>
  );
}
