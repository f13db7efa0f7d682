//! The graph tab.

import { useSignal, type Signal } from '@preact/signals';
import type { JSX } from 'preact';
import { useCallback, useEffect, useMemo, useRef, useState } from 'preact/hooks';
import type uPlot from 'uplot';
import { queryExemplars } from '../../api/prom';
import { count, time } from '../../format';
import { selectorOf } from '../../selector';
import { useColours } from '../../state/colours';
import { useResource } from '../../state/resource';
import { zone } from '../../state/settings';
import { ErrorBox, download } from '../../ui/parts';
import { type Chart, type Hover, drawChart } from './chart';
import { type ExemplarDot, dotsOf } from './exemplars';
import { type Heat, cellAt, heatOf } from './heat';
import { Legend } from './legend';
import { readable } from './numbers';
import { type Line, highest, plotCsv, plotOf, stack } from './plot';
import { rounded } from './spans';
import type { PanelState } from './url';
import type { ViewProps } from './views';

/** Lines that are drawn unasked. */
const DRAWN = 20;
/** Lines that are drawn when all are asked for. */
const DRAWN_MAX = 1_000;
const HEIGHT_PX = 340;
/** Always the same one, as a new one would be drawn. */
const NO_DOTS: readonly ExemplarDot[] = [];

let drawing: typeof uPlot | undefined;

async function load(): Promise<typeof uPlot> {
  const [{ default: UPlot }] = await Promise.all([import('uplot'), import('uplot/dist/uPlot.min.css')]);
  drawing = UPlot;
  return UPlot;
}

// Asked for while the query still runs; a failure is told where the graph is shown.
load().catch(() => undefined);

type Props = ViewProps;

export default function GraphTab(props: Props): JSX.Element {
  const { panel, outcome, change } = props;
  const { data } = outcome.answer;
  const matrix = data.resultType === 'matrix' ? data.result : [];
  const plot = useMemo(() => plotOf(matrix, outcome.startMs, outcome.endMs, outcome.stepMs), [outcome]);
  // Where there is nothing else to draw it needs no asking.
  const isHeat = plot.histograms > 0 && (panel.display === 'heatmap' || plot.lines.length === 0);
  const heat = useMemo(() => (isHeat ? heatOf(matrix, outcome.startMs, outcome.stepMs) : undefined), [outcome, isHeat]);
  const shown = useMemo(() => (isHeat ? [] : highest(plot.lines, panel.showAll ? DRAWN_MAX : DRAWN)), [plot, panel.showAll, isHeat]);
  const [hidden, setHidden] = useState<ReadonlySet<string>>(new Set());
  const chart = useRef<Chart>();
  const focus = useCallback((index: number | undefined) => chart.current?.focus(index), []);
  const toggle = useCallback(
    (key: string, isAlone: boolean): void =>
      setHidden((before) => {
        if (isAlone) return before.size > 0 && !before.has(key) ? new Set() : new Set(shown.map((line) => line.key).filter((one) => one !== key));
        const next = new Set(before);
        if (!next.delete(key)) next.add(key);
        return next;
      }),
    [shown],
  );
  const isUndrawn = !isHeat && (plot.undrawable > 0 || plot.histograms > 0 || shown.length < plot.lines.length);
  const negative = panel.isLog && shown.some((line) => line.min <= 0);
  return (
    <div class="tab">
      <Choices {...props} hasHeat={plot.histograms > 0} isHeat={isHeat} csv={() => plotCsv(plot, plot.lines)} />
      <Canvas {...props} times={plot.times} lines={shown} heat={heat} hidden={hidden} chart={chart} />
      {(isUndrawn || negative) && (
        <p class="quiet undrawn">
          {shown.length < plot.lines.length && (
            <>
              Showing {count(shown.length)} of {count(plot.lines.length)} series, those of the highest averages.{' '}
              {!panel.showAll && <button type="button" onClick={() => change({ showAll: true })}>Show all</button>}{' '}
            </>
          )}
          {plot.undrawable > 0 && `${count(plot.undrawable)} samples are NaN or infinite and leave gaps. `}
          {negative && 'A logarithmic axis has no place for zero and less. '}
          {plot.histograms > 0 &&
            `${count(plot.histograms)} series with native histograms, which are no lines: histogram_quantile(0.9, …), histogram_avg(…) and histogram_count(…) make some, and the table has the buckets. `}
        </p>
      )}
      {panel.showAll && plot.lines.length > DRAWN && (
        <p><button type="button" onClick={() => change({ showAll: false })}>Show {DRAWN}</button></p>
      )}
      {heat ? <HeatNote heat={heat} lines={plot.lines.length} /> : <Legend lines={shown} isCut={shown.length < plot.lines.length} hidden={hidden} toggle={toggle} focus={focus} />}
    </div>
  );
}

/** How it is drawn. */
function Choices(props: Props & { hasHeat: boolean; isHeat: boolean; csv: () => string }): JSX.Element {
  const { panel, outcome, change } = props;
  const choice = (text: string, isOn: boolean, changes: Partial<PanelState>): JSX.Element => (
    <button type="button" aria-pressed={isOn} onClick={() => change(changes)}>{text}</button>
  );
  const isZero = panel.yMin === 0 && !panel.isLog;
  return (
    <div class="row choices">
      <span class="joined" role="group" aria-label="Lines">
        {choice('lines', panel.display !== 'stacked' && !props.isHeat, { display: 'lines' })}
        {choice('stacked', panel.display === 'stacked' && !props.isHeat, { display: 'stacked' })}
        {props.hasHeat && choice('heatmap', props.isHeat, { display: 'heatmap' })}
      </span>
      {!props.isHeat && (
        <span class="joined" role="group" aria-label="Y axis">
          {choice('y auto', panel.yMin === undefined && !panel.isLog, { yMin: undefined, isLog: false })}
          {panel.yMin !== undefined && panel.yMin !== 0 && !panel.isLog && choice(`y from ${readable(panel.yMin)}`, true, {})}
          {choice('y zero', isZero, { yMin: 0, isLog: false })}
          {choice('y log', panel.isLog, { isLog: true })}
        </span>
      )}
      <label>
        <input type="checkbox" checked={panel.showExemplars} onChange={(event) => change({ showExemplars: event.currentTarget.checked })} />
        exemplars
      </label>
      <span class="actions end">
        {!props.isHeat && (
          <button type="button" onClick={() => download('graph.csv', 'text/csv', props.csv())}>CSV</button>
        )}
        <button type="button" onClick={() => download('graph.json', 'application/json', JSON.stringify(outcome.answer.data, null, 2))}>JSON</button>
      </span>
    </div>
  );
}

interface CanvasProps extends Props {
  readonly times: readonly number[];
  readonly lines: readonly Line[];
  readonly heat: Heat | undefined;
  readonly hidden: ReadonlySet<string>;
  readonly chart: { current: Chart | undefined };
}

function Canvas(props: CanvasProps): JSX.Element {
  const { panel, outcome, times, lines, heat, hidden } = props;
  const [tools, setTools] = useState(() => drawing);
  const [failure, setFailure] = useState<Error>();
  const host = useRef<HTMLDivElement>(null);
  const hover = useSignal<Hover | undefined>(undefined);
  const before = useRef<Pick<PanelState, 'endMs' | 'rangeMs'>[]>([]);
  const colours = useColours();
  const newest = useRef(props);
  newest.current = props;

  const back = (): void => {
    const last = before.current.pop();
    if (last) newest.current.change(last);
  };

  const wanted = panel.showExemplars;
  const span = wanted ? `${outcome.expr} ${outcome.startMs} ${outcome.endMs}` : '';
  const exemplars = useResource(span, async (signal) =>
    wanted ? dotsOf((await queryExemplars(outcome.expr, outcome.startMs, outcome.endMs, signal)).data ?? []) : NO_DOTS,
  );
  const dots = exemplars.data ?? NO_DOTS;

  useEffect(() => {
    if (tools) return;
    load().then((UPlot) => setTools(() => UPlot), () => setFailure(new Error('the part that draws could not be loaded')));
  }, []);

  const drawn = useMemo(() => {
    const visible = lines.map((line, index) => ({ line, index })).filter(({ line }) => !hidden.has(line.key));
    const rows = visible.map(({ line }) => (panel.isLog ? line.values.map((value) => (value !== null && value > 0 ? value : null)) : line.values));
    const placed = panel.display === 'stacked' ? stack(rows) : rows;
    return visible.map(({ line, index }, at) => ({ line, index, values: placed[at] ?? [] }));
  }, [lines, hidden, panel.display, panel.isLog]);

  useEffect(() => {
    const element = host.current;
    if (!tools || !element) return;
    const zoom = (startMs: number, endMs: number): void => {
      const { panel, change } = newest.current;
      const rangeMs = Math.max(1, rounded(endMs - startMs, endMs - startMs));
      before.current.push({ endMs: panel.endMs, rangeMs: panel.rangeMs });
      change({ endMs: rounded(endMs, rangeMs), rangeMs });
    };
    const chart = drawChart(tools, element, {
      times,
      lines: drawn,
      count: lines.length,
      dots,
      heat,
      startMs: outcome.startMs,
      endMs: outcome.endMs,
      isStacked: panel.display === 'stacked',
      isLog: heat ? heat.isLog : panel.isLog,
      yMin: panel.yMin,
      zone: zone.value,
      width: element.clientWidth,
      height: HEIGHT_PX,
      zoom,
      back,
      hover: (now) => {
        hover.value = now;
      },
    });
    props.chart.current = {
      ...chart,
      focus: (index) => {
        const place = drawn.findIndex((line) => line.index === index);
        chart.focus(place < 0 ? undefined : place);
      },
    };
    // It reports once without any change.
    const sizes = new ResizeObserver(() => chart.resize(element.clientWidth));
    sizes.observe(element);
    return () => {
      sizes.disconnect();
      hover.value = undefined;
      props.chart.current = undefined;
      chart.destroy();
    };
  }, [tools, drawn, heat, times, dots, panel.display, panel.isLog, panel.yMin, zone.value, colours]);

  if (failure) return <ErrorBox error={failure} retry={() => location.reload()} />;
  return (
    <div class="chart">
      <div ref={host} role="img" aria-label={summary(props)} title="" />
      {!tools && <p class="loading">Loading the graph …</p>}
      <Tooltip hover={hover} heat={heat} times={times} lines={drawn.map(({ line }) => line)} dots={dots} />
      {exemplars.error && <ErrorBox error={exemplars.error} retry={exemplars.refresh} />}
      {wanted && exemplars.data?.length === 0 && !exemplars.loading && <p class="quiet">No exemplars in this range.</p>}
      {panel.endMs !== undefined && before.current.length > 0 && (
        <p><button type="button" onClick={back}>Zoom out</button></p>
      )}
    </div>
  );
}

/** The graph in a sentence, for those who do not see it; the legend below it has all numbers. */
function summary({ lines, heat, outcome }: CanvasProps): string {
  const known = lines.filter((line) => !Number.isNaN(line.max));
  const [from, to] = [outcome.startMs, outcome.endMs].map((ms) => time(ms, zone.value));
  if (heat) return `Heatmap of ${count(heat.series)} series of native histograms from ${from} to ${to}, with values from ${readable(heat.low)} to ${readable(heat.high)}.`;
  const head = `Graph of ${count(lines.length)} series from ${from} to ${to}`;
  const [first] = known;
  if (!first) return `${head}, without values.`;
  const top = known.reduce((best, line) => (line.max > best.max ? line : best), first);
  const low = known.reduce((best, line) => (line.min < best.min ? line : best), first);
  return `${head}. Highest ${readable(top.max)} in ${selectorOf(top.metric)}, lowest ${readable(low.min)} in ${selectorOf(low.metric)}.`;
}

function HeatNote(props: { heat: Heat; lines: number }): JSX.Element {
  return (
    <p class="quiet">
      The buckets of {count(props.heat.series)} series of native histograms together; the fullest has {readable(props.heat.most)}.
      The table has them one by one.{props.lines > 0 && ` ${count(props.lines)} series of other values are left out.`}
    </p>
  );
}

function Tooltip(props: { hover: Signal<Hover | undefined>; heat: Heat | undefined; times: readonly number[]; lines: readonly Line[]; dots: readonly ExemplarDot[] }): JSX.Element | null {
  const now = props.hover.value;
  if (!now) return null;
  const line = now.line === undefined ? undefined : props.lines[now.line];
  const dot = now.dot === undefined ? undefined : props.dots[now.dot];
  const cell = props.heat && !dot ? cellAt(props.heat, now.at, now.value) : undefined;
  const seconds = dot?.seconds ?? props.times[now.at] ?? 0;
  const isRight = now.left > (document.documentElement.clientWidth || 0) / 2;
  return (
    <div class="tooltip" style={{ left: `${now.left}px`, top: `${now.top}px`, transform: isRight ? 'translate(calc(-100% - 12px), 12px)' : 'translate(12px, 12px)' }}>
      <p class="quiet">{time(Math.round(seconds * 1000), zone.value)}</p>
      {line && (
        <>
          <p><strong>{readable(line.values[now.at] ?? NaN)}</strong></p>
          <p class="mono">{line.key}</p>
        </>
      )}
      {cell && (
        <>
          <p><strong>{readable(cell.count)}</strong></p>
          <p class="mono">{readable(cell.lower)} to {readable(cell.upper)}</p>
        </>
      )}
      {dot && (
        <>
          <p><strong>Exemplar {readable(dot.value)}</strong></p>
          <p class="mono">{dot.labels}</p>
          <p class="mono quiet">{dot.series}</p>
        </>
      )}
    </div>
  );
}
