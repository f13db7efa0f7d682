//! Where a query is typed: a plain field at once, the editor when it is there.

import type { JSX } from 'preact';
import { useEffect, useRef, useState } from 'preact/hooks';
import type { Editor } from './codemirror';
import type { Fault } from './fault';

export interface QueryTextProps {
  readonly value: string;
  /** Another number where the text was put there, not typed: only then it is put into the editor, which may be further already. */
  readonly version: number;
  readonly change: (text: string) => void;
  readonly run: (text: string) => void;
  readonly fault: Fault | undefined;
  readonly label: string;
}

const PLACEHOLDER = 'PromQL, say rate(node_cpu_seconds_total[5m])';

export function QueryText(props: QueryTextProps): JSX.Element {
  const area = useRef<HTMLTextAreaElement>(null);
  const host = useRef<HTMLDivElement>(null);
  const editor = useRef<Editor>();
  const [hasEditor, setHasEditor] = useState(false);
  const newest = useRef(props);
  newest.current = props;

  useEffect(() => {
    let isWanted = true;
    const start = async (): Promise<void> => {
      const { createEditor } = await import('./codemirror');
      const element = host.current;
      if (!isWanted || !element) return;
      // Whoever types already goes on where they are.
      const field = area.current;
      const isFocused = field !== null && document.activeElement === field;
      editor.current = createEditor({
        host: element,
        text: newest.current.value,
        selection: field && isFocused ? { from: field.selectionStart, to: field.selectionEnd } : undefined,
        label: newest.current.label,
        placeholder: PLACEHOLDER,
        change: (text) => newest.current.change(text),
        run: (text) => newest.current.run(text),
      });
      editor.current.setFault(newest.current.fault);
      // What is hidden cannot be focused.
      element.hidden = false;
      if (isFocused) editor.current.focus();
      setHasEditor(true);
    };
    // The plain field does all that is needed where this fails.
    start().catch(() => undefined);
    return () => {
      isWanted = false;
      editor.current?.destroy();
      editor.current = undefined;
    };
  }, []);
  useEffect(() => editor.current?.setText(props.value), [props.version]);
  useEffect(() => editor.current?.setFault(props.fault), [props.fault]);
  useEffect(() => editor.current?.setLabel(props.label), [props.label]);

  const onKey = (event: KeyboardEvent): void => {
    // Shift-Enter is a new line; Enter alone runs, as in Prometheus.
    if (event.key !== 'Enter' || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    props.run(area.current?.value ?? props.value);
  };
  return (
    <div class="text">
      <div ref={host} class="editor" data-query={hasEditor ? '' : undefined} hidden={!hasEditor} />
      {!hasEditor && (
        <textarea
          ref={area}
          data-query
          aria-label={props.label}
          aria-invalid={props.fault !== undefined}
          placeholder={PLACEHOLDER}
          rows={Math.min(12, props.value.split('\n').length)}
          spellcheck={false}
          autocapitalize="off"
          autocomplete="off"
          value={props.value}
          onInput={(event) => props.change(event.currentTarget.value)}
          onKeyDown={onKey}
        />
      )}
      {!hasEditor && props.fault && <Marked text={props.value} fault={props.fault} />}
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
