//! Small parts that every page uses.

import { useSignal } from '@preact/signals';
import type { ComponentChildren, JSX } from 'preact';
import { ApiError } from '../api/client';
import { ago, time } from '../format';
import type { Resource } from '../state/resource';
import { zone } from '../state/settings';

/** A headed part of a page, which fails alone. */
export function Panel(props: { title: string; actions?: ComponentChildren; children: ComponentChildren }): JSX.Element {
  return (
    <section class="panel" aria-label={props.title}>
      <header>
        <h2>{props.title}</h2>
        {props.actions !== undefined && <div class="actions">{props.actions}</div>}
      </header>
      {props.children}
    </section>
  );
}

/** What a resource holds, or why it holds nothing; old data stays below a newer failure. */
export function Loaded<T>(props: { of: Resource<T>; children: (data: T) => ComponentChildren }): JSX.Element {
  const { data, error, refresh } = props.of;
  return (
    <>
      {error && <ErrorBox error={error} retry={refresh} />}
      {data !== undefined && props.children(data)}
      {data === undefined && !error && <p class="loading">Loading …</p>}
    </>
  );
}

export function ErrorBox(props: { error: Error; retry?: () => void }): JSX.Element {
  const { error } = props;
  const isMissing = error instanceof ApiError && error.status === 404;
  const head = error instanceof ApiError && error.status > 0 ? `${error.status} ${error.type}`.trim() : '';
  return (
    <div class="error" role="alert">
      <p>
        {head !== '' && <strong>{head}: </strong>}
        {isMissing ? 'not available in this build of the server' : error.message}
      </p>
      <div class="actions">
        {error instanceof ApiError && <Copy text={curlOf(error.request)} what="as curl" />}
        {props.retry && <button type="button" onClick={props.retry}>Try again</button>}
      </div>
    </div>
  );
}

function curlOf(request: string): string {
  const [method, url = ''] = request.split(' ');
  return `curl -X ${method} '${url.replaceAll("'", "'\\''")}'`;
}

/** What the server noted about an answer. */
export function Notes(props: { warnings: readonly string[]; infos: readonly string[] }): JSX.Element | null {
  const notes = (kind: 'warning' | 'info', texts: readonly string[]): JSX.Element | null => {
    const distinct = [...new Set(texts)];
    if (distinct.length === 0) return null;
    return (
      <details class={`notes ${kind}`} open={kind === 'warning' && distinct.length <= 3}>
        <summary>{distinct.length} {kind}{distinct.length > 1 ? 's' : ''}</summary>
        <ul>{distinct.map((text) => <li key={text}>{text}</li>)}</ul>
      </details>
    );
  };
  if (props.warnings.length + props.infos.length === 0) return null;
  return <div>{notes('warning', props.warnings)}{notes('info', props.infos)}</div>;
}

/** A moment, with its distance in words on hover and for those who listen. */
export function Moment(props: { at: string | number | null | undefined; relative?: boolean }): JSX.Element {
  if (props.at === null || props.at === undefined) return <span class="quiet">never</span>;
  const ms = typeof props.at === 'number' ? props.at : Date.parse(props.at);
  const [absolute, distance] = [`${time(ms, zone.value)}${zone.value === 'utc' ? ' UTC' : ''}`, ago(ms, Date.now())];
  const iso = Number.isNaN(ms) || Math.abs(ms) > 8.64e15 ? undefined : new Date(ms).toISOString();
  return (
    <time dateTime={iso} title={props.relative ? absolute : distance}>
      {props.relative ? distance : absolute}
    </time>
  );
}

/** Copies a text, and says so only when that has happened. */
export function Copy(props: { text: string; what?: string }): JSX.Element {
  const state = useSignal<'ready' | 'done' | 'failed'>('ready');
  const copy = async (): Promise<void> => {
    try {
      // Absent on plain HTTP beyond this machine.
      await navigator.clipboard.writeText(props.text);
      state.value = 'done';
    } catch {
      state.value = 'failed';
    }
  };
  if (state.value === 'failed') {
    return <input class="copied" readOnly value={props.text} aria-label="Text to copy" onFocus={(event) => event.currentTarget.select()} />;
  }
  return (
    <button type="button" class="copy" onClick={() => void copy()}>
      {state.value === 'done' ? 'Copied' : `Copy${props.what ? ` ${props.what}` : ''}`}
    </button>
  );
}

/** Gives a text as a file. */
export function download(name: string, type: string, text: string): void {
  const url = URL.createObjectURL(new Blob([text], { type }));
  const link = document.createElement('a');
  link.href = url;
  link.download = name;
  link.click();
  URL.revokeObjectURL(url);
}

export type State = 'good' | 'warn' | 'bad' | 'busy' | 'none';
const MARKS: Record<State, string> = { good: '✓', warn: '!', bad: '✕', busy: '…', none: '–' };

/** A state in words with a mark, so that no colour alone carries it. */
export function Badge(props: { state: State; children: ComponentChildren }): JSX.Element {
  return (
    <span class={`badge ${props.state}`}>
      <span aria-hidden="true">{MARKS[props.state]}</span> {props.children}
    </span>
  );
}

export function Progress(props: { label: string; done: number; total: number; text?: string }): JSX.Element {
  const isKnown = props.total > 0;
  return (
    <div class="progress">
      <progress aria-label={props.label} max={isKnown ? props.total : undefined} value={isKnown ? props.done : undefined} />
      <span>{props.text ?? (isKnown ? `${Math.floor((100 * props.done) / props.total)} %` : '')}</span>
    </div>
  );
}

/** Names and what they are. */
export function Facts(props: { rows: readonly (readonly [string, ComponentChildren])[] }): JSX.Element {
  return (
    <dl class="facts">
      {props.rows.map(([name, value]) => (
        <div key={name}>
          <dt>{name}</dt>
          <dd>{value}</dd>
        </div>
      ))}
    </dl>
  );
}

/** Views of one thing, of which one is shown. */
export function Tabs<T extends string>(props: {
  label: string;
  tabs: readonly (readonly [T, string])[];
  active: T;
  onChange: (tab: T) => void;
}): JSX.Element {
  const move = (event: KeyboardEvent): void => {
    const step = event.key === 'ArrowRight' ? 1 : event.key === 'ArrowLeft' ? -1 : 0;
    if (step === 0) return;
    event.preventDefault();
    const at = props.tabs.findIndex(([id]) => id === props.active);
    const next = props.tabs[(at + step + props.tabs.length) % props.tabs.length];
    if (!next) return;
    props.onChange(next[0]);
    const buttons = (event.currentTarget as HTMLElement).querySelectorAll('button');
    buttons[props.tabs.indexOf(next)]?.focus();
  };
  return (
    <div class="tabs" role="tablist" aria-label={props.label} onKeyDown={move}>
      {props.tabs.map(([id, name]) => (
        <button
          key={id}
          type="button"
          role="tab"
          aria-selected={props.active === id}
          tabIndex={props.active === id ? 0 : -1}
          onClick={() => props.onChange(id)}
        >
          {name}
        </button>
      ))}
    </div>
  );
}
