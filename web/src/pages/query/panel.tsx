//! One query: its text, what came back, and the ways to look at it.

import type { ComponentChildren, JSX } from 'preact';
import { useCallback, useEffect, useMemo, useRef, useState } from 'preact/hooks';
import { ApiError } from '../../api/client';
import { formatQuery } from '../../api/prom';
import { count, duration } from '../../format';
import { ErrorBox, Notes, Tabs } from '../../ui/parts';
import { Nothing } from './empty';
import { faultOf } from './fault';
import { MomentInput, RangeInput, ResolutionInput } from './inputs';
import { type Panel, add, live, remove, setLive, update } from './panels';
import { type Outcome, type Run, useRun } from './run';
import { QueryText } from './text';
import type { PanelState, Tab } from './url';
import { Solo, View, isSolo, preload } from './views';

const TABS: readonly (readonly [Tab, string])[] = [['graph', 'Graph'], ['table', 'Table'], ['raw', 'Raw'], ['explain', 'Explain']];

export function QueryPanel(props: { panel: Panel; number: number; isOnly: boolean; activate: () => void }): JSX.Element {
  const { panel } = props;
  const [{ draft, version }, setDraft] = useState({ draft: panel.expr, version: 0 });
  const put = (text: string): void => setDraft((before) => ({ draft: text, version: before.version + 1 }));
  const [unformatted, setUnformatted] = useState<{ text: string; error: Error }>();
  useEffect(() => {
    put(panel.expr);
    setUnformatted(undefined);
  }, [panel.expr]);
  const run = useRun(panel, panel.tab === 'graph' ? 'range' : panel.tab === 'table' ? 'instant' : 'none');
  const change = (changes: Partial<PanelState>): void => update(panel.id, changes);
  useEffect(() => preload(panel.tab), [panel.tab]);
  const latest = useRef({ draft, run, panel });
  latest.current = { draft, run, panel };

  const start = useCallback((text: string): void => {
    const { panel, run } = latest.current;
    setUnformatted(undefined);
    if (text.trim() !== panel.expr) update(panel.id, { expr: text.trim() });
    run.again();
  }, []);
  const narrow = useCallback((name: string, value: string, isEqual: boolean): void => {
    void import('./matchers').then(({ addMatcher }) => start(addMatcher(latest.current.panel.expr, name, value, isEqual)));
  }, []);
  const format = async (): Promise<void> => {
    // What was typed since is not to be lost.
    const isAsked = (): boolean => latest.current.draft === draft;
    try {
      const text = await formatQuery(draft);
      if (isAsked()) put(text);
      setUnformatted(undefined);
    } catch (error) {
      if (isAsked()) setUnformatted({ text: draft, error: error instanceof Error ? error : new Error(String(error)) });
    }
  };

  const error = unformatted?.error ?? run.error;
  const failed = unformatted?.text ?? run.failed;
  const fault = useMemo(() => (error ? faultOf(error.message, failed) : undefined), [error, failed]);
  const isStale = draft.trim() !== panel.expr;
  return (
    <section class="panel query" aria-label={`Query ${props.number}`} data-panel={panel.id} onFocusIn={props.activate}>
      <div class="ask">
        <QueryText
          value={draft}
          version={version}
          change={(text) => setDraft((before) => ({ ...before, draft: text }))}
          run={start}
          fault={failed === (unformatted ? draft : draft.trim()) ? fault : undefined}
          label={props.isOnly ? 'PromQL query' : `PromQL query ${props.number}`}
        />
        <div class="actions">
          {run.isRunning ? (
            <button type="button" class="primary run stop" onClick={run.stop}>Stop</button>
          ) : (
            <button type="button" class="primary run" title="Run (Ctrl Enter)" onClick={() => start(draft)}>{isStale ? 'Run ●' : 'Run'}</button>
          )}
          <button type="button" onClick={() => void format()} disabled={draft.trim() === ''}>Format</button>
          <button type="button" onClick={() => add(panel)} title="The same query once more">Duplicate</button>
          <button type="button" onClick={() => remove(panel.id)} aria-label={`Remove query ${props.number}`} disabled={props.isOnly && panel.expr === ''}>Remove</button>
        </div>
      </div>
      {!isSolo(panel.tab) && <ResultLine run={run} />}
      {error && !(error instanceof DOMException) && <QueryError error={error} again={() => start(draft)} />}
      {run.outcome && <Notes warnings={run.outcome.answer.warnings} infos={run.outcome.answer.infos} />}
      <div class="bar">
        <Tabs label="Views" tabs={TABS} active={panel.tab} onChange={(tab) => change({ tab })} />
        <div class="actions">
          {panel.tab !== 'table' && <RangeInput rangeMs={panel.rangeMs} change={(rangeMs) => change({ rangeMs })} />}
          <MomentInput
            label={panel.tab === 'table' ? 'Evaluation time' : 'End'}
            ms={panel.endMs}
            stepMs={panel.rangeMs / 2}
            change={(endMs) => change({ endMs })}
          />
          {(panel.tab === 'graph' || panel.tab === 'explain') && <ResolutionInput value={panel.resolution} rangeMs={panel.rangeMs} change={(resolution) => change({ resolution })} />}
          {!isSolo(panel.tab) && (
            <label title="All queries run again every 5 s while this page is seen (l)">
              <input type="checkbox" checked={live.value} onChange={(event) => setLive(event.currentTarget.checked)} />
              live 5 s
            </label>
          )}
        </div>
      </div>
      <Shown panel={panel} run={run}>
        {(outcome) => <View panel={panel} outcome={outcome} change={change} add={narrow} />}
      </Shown>
    </section>
  );
}

/** What a result is, or why there is none to show. */
function Shown(props: { panel: Panel; run: Run; children: (outcome: Outcome) => ComponentChildren }): JSX.Element {
  const { panel, run } = props;
  if (panel.expr.trim() === '') return <Nothing choose={(expr) => update(panel.id, { expr })} />;
  if (isSolo(panel.tab)) return <Solo panel={panel} attempt={run.attempt} />;
  if (!run.outcome) return run.isRunning ? <p class="loading">Running …</p> : <div />;
  const { result } = run.outcome.answer.data;
  const age = run.isRunning ? 'stale' : run.isOfBefore ? 'before' : '';
  if (result.length === 0) {
    return (
      <p class={`empty ${age}`}>
        {run.outcome.kind === 'range' ? 'No series has a sample in this range.' : 'No series has a sample at this time or shortly before it.'}{' '}
        A longer range, an earlier time or fewer matchers may find some.
      </p>
    );
  }
  return <div class={age} aria-busy={run.isRunning}>{props.children(run.outcome)}</div>;
}

/** How much came back, and what it took. */
function ResultLine(props: { run: Run }): JSX.Element {
  const { outcome, isRunning, isOfBefore } = props.run;
  if (!outcome) return <p class="result quiet" role="status">{isRunning ? 'Running …' : ' '}</p>;
  const { data, infos } = outcome.answer;
  const isList = data.resultType === 'vector' || data.resultType === 'matrix';
  const parts = [isList ? `${count(data.result.length)} series` : data.resultType];
  if (data.stats) {
    const { timings, samples } = data.stats;
    parts.push(`${count(samples.totalQueryableSamples)} samples read`);
    const steps = [['queue', timings.execQueueTime], ['prep', timings.queryPreparationTime], ['eval', timings.innerEvalTime]] as const;
    const told = steps.filter(([, took]) => took >= 0.0001).map(([name, took]) => `${name} ${duration(took)}`);
    parts.push(`${duration(timings.execTotalTime)} in the server${told.length > 0 ? ` (${told.join(', ')})` : ''}`);
  }
  parts.push(`${duration(outcome.tookMs / 1000)} here`);
  if (infos.length > 0) parts.push(`${infos.length} info${infos.length > 1 ? 's' : ''}`);
  return <p class="result quiet" role="status">{parts.join(' · ')}{isRunning ? ' · running …' : isOfBefore && ' · of the query before'}</p>;
}

const HINTS: Record<number, string> = {
  0: 'It may be stopping, or the network is cut; a run asks again.',
  422: 'The query is right, but could not be evaluated.',
  503: 'It took too long or the server has too much to do; a shorter range or a larger step asks for less.',
};

function QueryError(props: { error: Error; again: () => void }): JSX.Element {
  const hint = props.error instanceof ApiError ? HINTS[props.error.status] : undefined;
  return (
    <div>
      <ErrorBox error={props.error} retry={props.again} />
      {hint !== undefined && <p class="quiet">{hint}</p>}
    </div>
  );
}
