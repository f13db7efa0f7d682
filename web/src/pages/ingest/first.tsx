//! The first sample of a server that has none yet: it is awaited, and shown when it comes.

import type { JSX } from 'preact';
import { useEffect, useState } from 'preact/hooks';
import { ago } from '../../format';
import { BASE, hrefOf } from '../../router';
import { selectorOf } from '../../selector';
import { Badge, Copy } from '../../ui/parts';
import type { First } from './arrival';
import { type Server, configOf } from './senders';

/** A clock that goes while something waits for it. */
function useNow(isTicking: boolean): number {
  const [now, setNow] = useState(Date.now);
  useEffect(() => {
    if (!isTicking) return;
    const timer = setInterval(() => setNow(Date.now()), 1_000);
    return () => clearInterval(timer);
  }, [isTicking]);
  return now;
}

export function FirstSample(props: { first: First; server: Server }): JSX.Element | null {
  const { first } = props;
  const now = useNow(first.state === 'arrived');
  const command = configOf('curl', { ...props.server, base: BASE });
  if (first.state === 'old') return null;
  return (
    <section class="panel first" aria-label="First sample">
      <div role="status">
        {first.state === 'waiting' ? (
          <Badge state="busy">Waiting for the first sample …</Badge>
        ) : (
          <Badge state="good">First sample</Badge>
        )}
      </div>
      {first.state === 'waiting' && (
        <p class="row">
          <span>Point a sender here, below, or write one now:</span>
          <code class="command">{command}</code>
          <Copy text={command} />
        </p>
      )}
      {first.state === 'arrived' && (
        <p class="row">
          <span>{ago(first.atMs, now)}</span>
          {first.example && <code>{selectorOf(first.example)}</code>}
          {first.example && <a href={hrefOf('query', { 'g0.expr': selectorOf(first.example), 'g0.tab': 'table' })}>Query it</a>}
        </p>
      )}
    </section>
  );
}
