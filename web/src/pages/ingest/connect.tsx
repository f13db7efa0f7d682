//! Configuration of senders, ready to be copied.

import type { JSX } from 'preact';
import { useState } from 'preact/hooks';
import { Copy, Panel, Tabs } from '../../ui/parts';
import { HINTS, SENDERS, type SenderId, type Server, configOf } from './senders';

export function Connect(props: { server: Server }): JSX.Element {
  const [sender, setSender] = useState<SenderId>('prometheus');
  const text = configOf(sender, props.server);
  return (
    <Panel title="Connect" actions={<Copy key={text} text={text} />}>
      <Tabs label="Senders" tabs={SENDERS} active={sender} onChange={setSender} />
      <p class="quiet">{HINTS[sender]}</p>
      <pre class="config" tabIndex={0} aria-label={`Configuration for ${sender}`}>{text}</pre>
      {props.server.hasUsers && <p class="quiet">This server asks for a credential: use one that may write.</p>}
    </Panel>
  );
}
