//! Lines on a canvas. uPlot is given by whom it was loaded by, so that it stays a chunk of its own.

import type uPlot from 'uplot';
import type { Zone } from '../../state/settings';
import { COLOURS, colourOf, dashOf } from './look';
import { axisTexts, timeTexts } from './numbers';
import { type Heat, drawHeat } from './heat';
import { isolated } from './plot';

export interface DrawnLine {
  /** Its place among all, which its look follows. */
  readonly index: number;
  readonly values: readonly (number | null)[];
}

export interface Dot {
  readonly seconds: number;
  readonly value: number;
}

export interface Hover {
  /** A place in `lines`, or in `dots`. */
  readonly line?: number;
  readonly dot?: number;
  readonly at: number;
  /** On the y axis. */
  readonly value: number;
  readonly left: number;
  readonly top: number;
}

export interface ChartOptions {
  readonly times: readonly number[];
  readonly lines: readonly DrawnLine[];
  /** How many lines there are with those that are hidden. */
  readonly count: number;
  readonly dots: readonly Dot[];
  readonly startMs: number;
  readonly endMs: number;
  readonly isStacked: boolean;
  readonly isLog: boolean;
  readonly yMin: number | undefined;
  readonly zone: Zone;
  readonly width: number;
  readonly height: number;
  readonly zoom: (startMs: number, endMs: number) => void;
  readonly back: () => void;
  readonly hover: (hover: Hover | undefined) => void;
  /** What is drawn below the lines. */
  readonly heat: Heat | undefined;
}

export interface Chart {
  readonly focus: (line: number | undefined) => void;
  readonly resize: (width: number) => void;
  readonly destroy: () => void;
}

/** The colours that the style sheet's variables have now: a canvas takes no variables. */
function coloursIn(host: HTMLElement): (variable: string) => string {
  const probe = document.createElement('span');
  host.append(probe);
  const known = new Map<string, string>();
  const look = (variable: string): string => {
    probe.style.color = `var(--${variable})`;
    return getComputedStyle(probe).color;
  };
  for (const name of ['line', 'quiet', 'text', 'surface', ...Array.from({ length: COLOURS }, (_, index) => `c${index}`)]) known.set(name, look(name));
  probe.remove();
  return (variable) => known.get(variable) ?? 'gray';
}

const FONT = '12px system-ui, sans-serif';
const NEAR_PX = 30;
const DOT_PX = 4;

export function drawChart(UPlot: typeof uPlot, host: HTMLElement, options: ChartOptions): Chart {
  const colour = coloursIn(host);
  const [start, end] = [options.startMs / 1000, options.endMs / 1000];
  const axis = { stroke: colour('quiet'), font: FONT, grid: { stroke: colour('line'), width: 1 }, ticks: { show: false } };
  // The newest of a stack is the highest: it is drawn first, and the others over it.
  const order = options.lines.map((_, place) => (options.isStacked ? options.lines.length - 1 - place : place));
  const lineAt = (series: number): DrawnLine | undefined => options.lines[order[series - 1] ?? -1];
  const series: uPlot.Series[] = order.map((place) => {
    const line = options.lines[place];
    const stroke = colour(`c${colourOf(line?.index ?? 0)}`);
    const alone = isolated(line?.values ?? []);
    return {
      stroke,
      width: 1.5,
      dash: [...dashOf(line?.index ?? 0, options.count)],
      ...(options.isStacked ? { fill: stroke.replace('rgb(', 'rgba(').replace(')', ', 0.35)') } : {}),
      points: { size: 5, fill: stroke, filter: (_chart, _series, show) => (show || alone.length === 0 ? null : alone) },
    };
  });
  const bands = options.isStacked ? order.slice(1).map((_, at) => ({ series: [at + 1, at + 2] as uPlot.Band.Bounds })) : [];
  const chart = new UPlot(
    {
      width: options.width,
      height: options.height,
      padding: [10, 12, 0, 0],
      tzDate: (seconds) => (options.zone === 'utc' ? UPlot.tzDate(new Date(seconds * 1000), 'Etc/UTC') : new Date(seconds * 1000)),
      legend: { show: false },
      focus: { alpha: 0.25 },
      cursor: {
        y: false,
        drag: { x: true, y: false, setScale: false, dist: 4 },
        focus: { prox: NEAR_PX },
        points: { one: true, size: 7 },
        bind: {
          mousedown: (self, _target, handler) => (event) => {
            if (event.altKey && event.button === 0) pan(self, event, options.zoom);
            else handler(event);
            return null;
          },
          dblclick: () => () => {
            options.back();
            return null;
          },
        },
      },
      scales: {
        x: { time: true, range: [start, end] },
        y: { distr: options.isLog ? 3 : 1, range: (_chart, low, high) => rangeOf(low, high, options) },
      },
      axes: [
        { ...axis, values: (_chart, splits, _axis, _space, distance) => timeTexts(splits, distance, options.zone), space: 70, size: 44 },
        {
          ...axis,
          values: (_chart, splits) => axisTexts(splits),
          size: (_chart, texts) => 14 + 7 * Math.max(3, ...(texts ?? []).map((text) => text?.length ?? 0)),
        },
      ],
      series: [{}, ...series],
      bands,
      hooks: {
        drawAxes: [(self) => options.heat && drawHeat(self, options.heat, options.times, (options.times[1] ?? 0) - (options.times[0] ?? 0), colour('c0'))],
        draw: [(self) => drawDots(self, options.dots, colour('text'), colour('surface'))],
        setSelect: [
          (self) => {
            const { left, width } = self.select;
            if (width < 4) return;
            self.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
            options.zoom(self.posToVal(left, 'x') * 1000, self.posToVal(left + width, 'x') * 1000);
          },
        ],
        setCursor: [(self) => options.hover(hoverOf(self, options, (found) => (lineAt(found) ? order[found - 1] : undefined)))],
      },
    },
    [options.times as number[], ...order.map((place) => options.lines[place]?.values as (number | null)[])],
    host,
  );
  return {
    focus: (line) => chart.setSeries(line === undefined ? null : order.indexOf(line) + 1, { focus: true }),
    resize: (width) => {
      if (width !== chart.width) chart.setSize({ width, height: options.height });
    },
    destroy: () => chart.destroy(),
  };
}

/** The extent of the y axis. */
function rangeOf(low: number | null, high: number | null, options: ChartOptions): [number, number] {
  if (options.heat) return [options.heat.low, options.heat.high];
  if (low === null || high === null) return options.isLog ? [0.1, 10] : [0, 1];
  if (options.isLog) {
    const least = low > 0 ? low : high / 1000;
    return [10 ** Math.floor(Math.log10(least)), 10 ** Math.ceil(Math.log10(high) + (high === least ? 0.1 : 0))];
  }
  const bottom = options.yMin ?? (options.isStacked ? Math.min(0, low) : low);
  const top = Math.max(high, bottom);
  // A flat line is shown in the middle rather than on an edge.
  const space = top > bottom ? (top - bottom) * 0.05 : Math.abs(top) * 0.1 || 1;
  return [options.yMin ?? (bottom === 0 ? 0 : bottom - space), top + space];
}

/** Moves the time axis with the mouse, and says where it was let go. */
function pan(chart: uPlot, event: MouseEvent, moved: ChartOptions['zoom']): void {
  const { min = 0, max = 0 } = chart.scales['x'] ?? {};
  const perPixel = (max - min) / Math.max(1, chart.over.clientWidth);
  let by = 0;
  const move = (now: MouseEvent): void => {
    by = (event.clientX - now.clientX) * perPixel;
    chart.over.style.cursor = 'grabbing';
    chart.over.parentElement?.style.setProperty('--shift', `${now.clientX - event.clientX}px`);
  };
  const end = (): void => {
    removeEventListener('mousemove', move);
    removeEventListener('mouseup', end);
    chart.over.style.cursor = '';
    chart.over.parentElement?.style.removeProperty('--shift');
    if (by !== 0) moved((min + by) * 1000, (max + by) * 1000);
  };
  addEventListener('mousemove', move);
  addEventListener('mouseup', end);
}

function dotPlace(chart: uPlot, dot: Dot): [number, number] {
  const { min = 0, max = 1 } = chart.scales['y'] ?? {};
  // What lies beyond the axis is shown at its edge.
  return [chart.valToPos(dot.seconds, 'x'), chart.valToPos(Math.min(Math.max(dot.value, min), max), 'y')];
}

function drawDots(chart: uPlot, dots: readonly Dot[], fill: string, stroke: string): void {
  const { ctx, bbox } = chart;
  const ratio = devicePixelRatio;
  ctx.save();
  ctx.fillStyle = fill;
  ctx.strokeStyle = stroke;
  ctx.lineWidth = ratio;
  for (const dot of dots) {
    const [left, top] = dotPlace(chart, dot);
    const [x, y, size] = [bbox.left + left * ratio, bbox.top + top * ratio, DOT_PX * ratio];
    ctx.beginPath();
    ctx.moveTo(x, y - size);
    ctx.lineTo(x + size, y);
    ctx.lineTo(x, y + size);
    ctx.lineTo(x - size, y);
    ctx.closePath();
    ctx.fill();
    ctx.stroke();
  }
  ctx.restore();
}

function hoverOf(chart: uPlot, options: ChartOptions, placeOf: (series: number) => number | undefined): Hover | undefined {
  const { left = -1, top = -1, idx } = chart.cursor;
  if (left < 0 || idx === null || idx === undefined) return undefined;
  const place = { at: idx, value: chart.posToVal(top, 'y'), left: left + chart.over.offsetLeft, top: top + chart.over.offsetTop };
  const dot = options.dots.findIndex((one) => {
    const [x, y] = dotPlace(chart, one);
    return Math.abs(x - left) <= 2 * DOT_PX && Math.abs(y - top) <= 2 * DOT_PX;
  });
  if (dot >= 0) return { ...place, dot };
  let [nearest, least]: [number | undefined, number] = [undefined, NEAR_PX];
  for (let series = 1; series < chart.series.length; series += 1) {
    const value = chart.data[series]?.[idx];
    if (value === null || value === undefined) continue;
    const distance = Math.abs(chart.valToPos(value, 'y') - top);
    if (distance < least) [nearest, least] = [series, distance];
  }
  const line = nearest === undefined ? undefined : placeOf(nearest);
  return line === undefined ? place : { ...place, line };
}
