//! A query page in its address: `gN.*` as Prometheus writes and reads it, so that links go both ways, and a few names of ours.

import { formatDuration, formatTime, parseDuration, parseTime } from './spans';

export type Density = 'low' | 'medium' | 'high';
export type Resolution =
  | { readonly type: 'auto'; readonly density: Density }
  | { readonly type: 'fixed' | 'custom'; readonly stepMs: number };
export type Tab = 'graph' | 'table' | 'raw' | 'explain';
export type Display = 'lines' | 'stacked' | 'heatmap';

/** One query and how it is shown. */
export interface PanelState {
  readonly expr: string;
  /** Prometheus' tree view; kept for links that come from there. */
  readonly showTree: boolean;
  readonly tab: Tab;
  /** The end of the graph and the moment of the table; `undefined` is now. */
  readonly endMs: number | undefined;
  readonly rangeMs: number;
  readonly resolution: Resolution;
  readonly display: Display;
  readonly yMin: number | undefined;
  readonly showExemplars: boolean;
  /** Ours: all series are drawn, not only the first. */
  readonly showAll: boolean;
  /** Ours: the y axis is logarithmic. */
  readonly isLog: boolean;
}

/** What a link that says no more means, as in Prometheus. */
export const DEFAULTS: PanelState = {
  expr: '',
  showTree: false,
  tab: 'table',
  endMs: undefined,
  rangeMs: 3_600_000,
  resolution: { type: 'auto', density: 'medium' },
  display: 'lines',
  yMin: undefined,
  showExemplars: false,
  showAll: false,
  isLog: false,
};

/** Queries on one page; a link could name any number. */
export const PANELS_MAX = 50;

const TABS: Record<string, Tab> = { graph: 'graph', table: 'table', raw: 'raw', explain: 'explain', '0': 'graph', '1': 'table' };
const DENSITIES: Record<Density, number> = { low: 100, medium: 250, high: 750 };

/** The distance of a graph's points, by Prometheus' rule. */
export function stepMsOf(resolution: Resolution, rangeMs: number): number {
  if (resolution.type !== 'auto') return resolution.stepMs;
  return Math.max(Math.floor(rangeMs / DENSITIES[resolution.density]), 1);
}

function number(text: string | null): number | undefined {
  const value = text === null || text === '' ? NaN : Number(text);
  return Number.isFinite(value) ? value : undefined;
}

function decodeResolution(get: (name: string) => string | null): Resolution {
  const legacy = number(get('step_input'));
  const otherwise: Resolution =
    legacy !== undefined && Math.floor(legacy) > 0 ? { type: 'custom', stepMs: Math.floor(legacy) * 1000 } : DEFAULTS.resolution;
  const type = get('res_type');
  if (type === 'auto') {
    const density = (['low', 'medium', 'high'] as const).find((one) => one === get('res_density'));
    return density ? { type, density } : otherwise;
  }
  const step = number(get('res_step'));
  if ((type === 'fixed' || type === 'custom') && step !== undefined && step > 0) return { type, stepMs: step * 1000 };
  return otherwise;
}

function decodePanel(get: (name: string) => string | null): PanelState {
  const display = (['lines', 'stacked', 'heatmap'] as const).find((one) => one === get('display_mode'));
  const stacked = get('stacked');
  // The moment of the table is believed before the end of the graph; both are written the same.
  const [end, moment] = [get('end_input'), get('moment_input')];
  return {
    expr: get('expr') ?? '',
    showTree: get('show_tree') === '1',
    tab: TABS[get('tab') ?? ''] ?? DEFAULTS.tab,
    endMs: (moment === null ? undefined : parseTime(moment)) ?? (end === null ? undefined : parseTime(end)),
    rangeMs: parseDuration(get('range_input') ?? '') || DEFAULTS.rangeMs,
    resolution: decodeResolution(get),
    display: stacked === null ? (display ?? DEFAULTS.display) : stacked === '1' ? 'stacked' : 'lines',
    yMin: number(get('y_axis_min')),
    showExemplars: get('show_exemplars') === '1',
    showAll: get('show_all') === '1',
    isLog: get('y_log') === '1',
  };
}

/** The queries that an address names. */
export function decodePanels(params: URLSearchParams): PanelState[] {
  const panels: PanelState[] = [];
  while (panels.length < PANELS_MAX && params.has(`g${panels.length}.expr`)) {
    const prefix = `g${panels.length}.`;
    panels.push(decodePanel((name) => params.get(prefix + name)));
  }
  return panels;
}

/** The address of these queries. */
export function encodePanels(panels: readonly PanelState[]): URLSearchParams {
  const params = new URLSearchParams();
  panels.forEach((panel, index) => {
    const add = (name: string, value: string): void => params.append(`g${index}.${name}`, value);
    add('expr', panel.expr);
    add('show_tree', panel.showTree ? '1' : '0');
    add('tab', panel.tab);
    if (panel.endMs !== undefined) {
      add('end_input', formatTime(panel.endMs));
      add('moment_input', formatTime(panel.endMs));
    }
    add('range_input', formatDuration(panel.rangeMs));
    add('res_type', panel.resolution.type);
    if (panel.resolution.type === 'auto') add('res_density', panel.resolution.density);
    else add('res_step', String(panel.resolution.stepMs / 1000));
    add('display_mode', panel.display);
    if (panel.yMin !== undefined) add('y_axis_min', String(panel.yMin));
    add('show_exemplars', panel.showExemplars ? '1' : '0');
    if (panel.showAll) add('show_all', '1');
    if (panel.isLog) add('y_log', '1');
  });
  return params;
}
