import type { JSX } from 'preact';
import { call } from '../../api/client';
import { useResource } from '../../state/resource';
import { Loaded, Panel } from '../../ui/parts';

export default function Ingest(): JSX.Element {
  const answer = useResource('ingest', (signal) => call<unknown>('api/v1/storage/writers', {}, { signal }));
  return (
    <Panel title="Writers">
      <Loaded of={answer}>{({ data }) => <pre>{JSON.stringify(data, null, 2)}</pre>}</Loaded>
    </Panel>
  );
}
