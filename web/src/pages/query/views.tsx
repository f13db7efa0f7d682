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

type Shows = Exclude<Tab, 'raw' | 'explain'>;

const LOADERS: Record<Shows, () => Promise<{ default: ComponentType<ViewProps> }>> = {
  graph: () => import('./graph'),
  table: () => import('./table'),
};

const loaded = new Map<Tab, ComponentType<ViewProps>>();

async function load(tab: Shows): Promise<void> {
  loaded.set(tab, (await LOADERS[tab]()).default);
}

const isShown = (tab: Tab): tab is Shows => tab in LOADERS;

/** Begins to load a view while its data is awaited. */
export function preload(tab: Tab): void {
  // A failure is told where the view is shown.
  if (isShown(tab)) load(tab).catch(() => undefined);
}

export function View(props: ViewProps): JSX.Element {
  const { tab } = props.panel;
  const [, setAttempt] = useState(0);
  const [failure, setFailure] = useState<Error>();
  const Component = loaded.get(tab);
  useEffect(() => {
    if (Component || !isShown(tab)) return;
    load(tab).then(
      () => setAttempt((count) => count + 1),
      () => setFailure(new Error('this view could not be loaded; the server may have been replaced')),
    );
  }, [tab, Component]);
  if (Component) return <Component {...props} />;
  return failure ? <ErrorBox error={failure} retry={() => location.reload()} /> : <p class="loading">Loading …</p>;
}
