//! The ways to look at a result, each loaded when it is first shown.

import type { ComponentType, JSX } from 'preact';
import { useEffect, useState } from 'preact/hooks';
import { ErrorBox } from '../../ui/parts';
import type { AddMatcher } from './labels';
import type { Outcome } from './run';
import type { PanelState, Tab } from './url';

export interface ViewProps {
  readonly panel: PanelState;
  readonly outcome: Outcome;
  readonly change: (changes: Partial<PanelState>) => void;
  readonly add: AddMatcher;
}

/** A view that asks by itself. */
export interface SoloProps {
  readonly panel: PanelState;
  /** Another number when the query is to run again. */
  readonly attempt: number;
}

const RESULTS: Partial<Record<Tab, () => Promise<{ default: ComponentType<ViewProps> }>>> = {
  graph: () => import('./graph'),
  table: () => import('./table'),
};
const SOLOS: Partial<Record<Tab, () => Promise<{ default: ComponentType<SoloProps> }>>> = {
  raw: () => import('./raw'),
  explain: () => import('./explain'),
};
const results = new Map<Tab, ComponentType<ViewProps>>();
const solos = new Map<Tab, ComponentType<SoloProps>>();

async function load(tab: Tab): Promise<void> {
  const [result, solo] = await Promise.all([RESULTS[tab]?.(), SOLOS[tab]?.()]);
  if (result) results.set(tab, result.default);
  if (solo) solos.set(tab, solo.default);
}

/** Whether a view needs no result. */
export const isSolo = (tab: Tab): boolean => tab in SOLOS;

/** Begins to load a view while its data is awaited. */
export function preload(tab: Tab): void {
  // A failure is told where the view is shown.
  load(tab).catch(() => undefined);
}

export function View(props: ViewProps): JSX.Element {
  return <Loading tab={props.panel.tab} of={results} props={props} />;
}

export function Solo(props: SoloProps): JSX.Element {
  return <Loading tab={props.panel.tab} of={solos} props={props} />;
}

function Loading<P extends object>({ tab, of, props }: { tab: Tab; of: ReadonlyMap<Tab, ComponentType<P>>; props: P }): JSX.Element {
  const [, setAttempt] = useState(0);
  const [failure, setFailure] = useState<Error>();
  const Component = of.get(tab);
  useEffect(() => {
    if (Component) return;
    load(tab).then(
      () => setAttempt((count) => count + 1),
      () => setFailure(new Error('this view could not be loaded; the server may have been replaced')),
    );
  }, [tab, Component]);
  if (Component) return <Component {...props} />;
  return failure ? <ErrorBox error={failure} retry={() => location.reload()} /> : <p class="loading">Loading …</p>;
}
