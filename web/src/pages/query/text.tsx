//! Where a query is typed.

import type { JSX } from 'preact';
import { useRef } from 'preact/hooks';
import type { Fault } from './fault';

export interface QueryTextProps {
  readonly value: string;
  readonly change: (text: string) => void;
  readonly run: (text: string) => void;
  readonly fault: Fault | undefined;
  readonly label: string;
}

export function QueryText(props: QueryTextProps): JSX.Element {
  const area = useRef<HTMLTextAreaElement>(null);
  const onKey = (event: KeyboardEvent): void => {
    // Shift-Enter is a new line; Enter alone runs, as in Prometheus.
    if (event.key !== 'Enter' || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    props.run(area.current?.value ?? props.value);
  };
  return (
    <div class="text">
      <textarea
        ref={area}
        data-query
        aria-label={props.label}
        aria-invalid={props.fault !== undefined}
        placeholder="PromQL, say rate(node_cpu_seconds_total[5m])"
        rows={Math.min(12, props.value.split('\n').length)}
        spellcheck={false}
        autocapitalize="off"
        autocomplete="off"
        value={props.value}
        onInput={(event) => props.change(event.currentTarget.value)}
        onKeyDown={onKey}
      />
      {props.fault && <Marked text={props.value} fault={props.fault} />}
    </div>
  );
}

/** The query once more with the fault underlined, where the editor cannot do it. */
function Marked(props: { text: string; fault: Fault }): JSX.Element {
  const { from, to } = props.fault.position;
  return (
    <pre class="marked" aria-hidden="true">
      {props.text.slice(0, from)}
      <mark>{props.text.slice(from, to)}</mark>
      {props.text.slice(to)}
    </pre>
  );
}
