//! The timeline of blocks: SVG as long as that is quick, a canvas above. The table beside it says the same in words.

import type { JSX } from 'preact';
import { useEffect, useLayoutEffect, useMemo, useRef, useState } from 'preact/hooks';
import { refusal } from '../../api/admin';
import type { Block } from '../../api/storage';
import { bytes, count, duration, time } from '../../format';
import { setParams } from '../../router';
import { useColours } from '../../state/colours';
import { zone } from '../../state/settings';
import { verifyBlock } from './details';
import { type Drawing, type Gap, LANE_PX, type Span, type Zoom, at, byTime, domain, draw, gaps, pack, ticks } from './timeline';

export interface TimelineBlock extends Span {
  readonly block: Block;
}

export type Colour = 'level' | 'proof' | 'size';

interface Props {
  /** What is drawn. */
  readonly spans: readonly TimelineBlock[];
  /** What there is. */
  readonly all: readonly TimelineBlock[];
  readonly overlaps: ReadonlySet<string>;
  readonly head: Gap | undefined;
  readonly zoom: Zoom;
  readonly colour: Colour;
  readonly shown: string | undefined;
  readonly move: (ulid: string) => void;
  readonly verified: () => void;
  readonly widen: () => void;
}

/** Above this a canvas is drawn. */
const SVG_MAX = 2_000;
const GUTTER_PX = 30;
const AXIS_PX = 22;

/** The class of a block's colour, which the styles give a meaning. */
export function shade({ block }: TimelineBlock, colour: Colour): string {
  if (colour === 'level') return `c${Math.min(4, block.level)}`;
  if (colour === 'proof') return block.last_check === null ? 'unread' : block.last_check.good ? 'good' : 'bad';
  return `s${Math.max(0, Math.min(4, Math.floor(Math.log10(Math.max(1, block.disk_usage_bytes)) - 4)))}`;
}

const LEGENDS: Record<Colour, readonly (readonly [string, string])[]> = {
  level: [['c1', 'level 1'], ['c2', '2'], ['c3', '3'], ['c4', '4 and up']],
  proof: [['good', '✓ good'], ['bad', '✕ mismatch'], ['unread', '– not read since the start']],
  size: [['s0', 'below 100 kB'], ['s1', '1 MB'], ['s2', '10 MB'], ['s3', '100 MB'], ['s4', 'larger']],
};

export function Timeline(props: Props): JSX.Element {
  const { spans, all, head } = props;
  const box = useRef<HTMLDivElement>(null);
  const [width, setWidth] = useState(0);
  const [told, setTold] = useState('');
  const [problem, setProblem] = useState('');
  useEffect(() => setProblem(''), [props.shown]);
  const timed = useMemo(() => (head ? [...all, head] : all), [all, head]);
  const range = useMemo(() => domain(props.zoom, timed), [props.zoom, timed]);
  useLayoutEffect(() => {
    // There once there is something to draw.
    const element = box.current;
    if (!element) return;
    const observer = new ResizeObserver(() => setWidth(element.clientWidth));
    observer.observe(element);
    return () => observer.disconnect();
  }, [range === undefined]);
  const holes = useMemo(() => gaps(timed), [timed]);
  const inner = Math.max(60, width - GUTTER_PX);
  const drawing = useMemo(
    () => (range ? draw(pack(spans.filter((span) => span.to >= range.from)), range, inner) : undefined),
    [spans, range, inner],
  );
  const sorted = useMemo(() => [...spans].sort(byTime), [spans]);

  if (!range || !drawing) {
    return <p class="empty">There is no block yet, and nothing in the head. Blocks are made when the head holds more than one of its ranges.</p>;
  }
  const say = (span: TimelineBlock, index: number): void =>
    setTold(`Block ${index + 1} of ${sorted.length}: level ${span.level}, ${time(span.from, zone.value)} to ${time(span.to, zone.value)}${props.overlaps.has(span.id) ? ', overlaps' : ''}`);
  const step = (by: number): void => {
    if (sorted.length === 0) return;
    const now = sorted.findIndex((span) => span.id === props.shown);
    // From nowhere the keys begin at the newest.
    const next = now < 0 ? sorted.length - 1 : Math.max(0, Math.min(sorted.length - 1, now + by));
    const span = sorted[next];
    if (!span) return;
    props.move(span.id);
    say(span, next);
    if (span.to < range.from) props.widen();
  };
  const verify = async (ulid: string): Promise<void> => {
    setTold(`Block ${ulid} is being read.`);
    setProblem('');
    try {
      const check = await verifyBlock(ulid);
      setTold(check.good ? `Block ${ulid} is good.` : `Block ${ulid} has ${check.findings.length} findings.`);
    } catch (error) {
      setTold('');
      setProblem(refusal(error));
    }
    props.verified();
  };
  const onKey = (event: KeyboardEvent): void => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const { shown } = props;
    if (event.key === 'ArrowRight') step(1);
    else if (event.key === 'ArrowLeft') step(-1);
    else if (event.key === 'Home') step(-sorted.length);
    else if (event.key === 'End') step(sorted.length);
    else if (event.key === 'Enter' && shown !== undefined) setParams({ block: shown });
    else if (event.key === 'v' && shown !== undefined) void verify(shown);
    else return;
    event.preventDefault();
  };
  const onClick = (event: MouseEvent): void => {
    const corner = box.current?.getBoundingClientRect();
    const hit = corner && at(drawing, event.clientX - corner.left - GUTTER_PX, event.clientY - corner.top);
    if (!hit) return;
    props.move(hit.id);
    setParams({ block: hit.id });
  };
  const seen = holes.filter((hole) => hole.to > range.from);
  const longest = [...seen].sort((a, b) => b.to - b.from - (a.to - a.from)).slice(0, 3);
  const summary =
    `${count(drawing.boxes.length)} blocks from ${time(range.from, zone.value)} to ${time(range.to, zone.value)}, ` +
    `${count(drawing.boxes.filter(({ span }) => props.overlaps.has(span.id)).length)} overlap, ${count(seen.length)} gap${seen.length === 1 ? '' : 's'}`;
  const view: View = { drawing, range, holes: seen, inner, head, props };
  return (
    <>
      <div
        ref={box}
        class="timeline"
        tabIndex={0}
        role="group"
        aria-label="Timeline of blocks. Left and right move, Enter pins, v verifies."
        onKeyDown={onKey}
        onClick={onClick}
      >
        {width > 0 && (drawing.boxes.length + seen.length > SVG_MAX ? <Canvas {...view} summary={summary} /> : <Drawn {...view} summary={summary} />)}
      </div>
      <p class="legend quiet">
        {LEGENDS[props.colour].map(([name, text]) => (
          <span key={name}><svg width="14" height="12" aria-hidden="true"><rect class={`block ${name}`} width="14" height="12" rx="2" /></svg> {text}</span>
        ))}
        <span><svg width="14" height="12" aria-hidden="true"><rect class="block c0" width="14" height="12" rx="2" /><path class="hatch" d="M0 12 12 0M6 12 14 4M0 6 6 0" /></svg> overlaps</span>
        <span><svg width="22" height="12" aria-hidden="true"><path class="gap" d="M0 6H22" /></svg> no block</span>
        <span class="keys"><kbd>←</kbd> <kbd>→</kbd> move · <kbd>Enter</kbd> pins · <kbd>v</kbd> verifies</span>
      </p>
      <p class="quiet summary">{summary}. {longest.map((hole) => `No block from ${time(hole.from, zone.value)} for ${duration(Math.round((hole.to - hole.from) / 1000))}. `)}</p>
      <p class="unseen" role="status">{told}</p>
      {problem !== '' && <p class="problem" role="alert">{problem}</p>}
    </>
  );
}

interface View {
  readonly drawing: Drawing<TimelineBlock>;
  readonly range: Gap;
  readonly holes: readonly Gap[];
  readonly inner: number;
  readonly head: Gap | undefined;
  readonly props: Props;
}

/** Where a time lies, kept on the drawing. */
function place(view: View, ms: number): number {
  const { range, inner } = view;
  return Math.max(0, Math.min(inner, ((ms - range.from) / (range.to - range.from)) * inner));
}

/** The row of the head and of gaps, below the levels. */
function baseline(view: View): number {
  return view.drawing.height;
}

function axis(view: View): { x: number; text: string }[] {
  const { range, inner } = view;
  const offset = zone.value === 'local' ? -new Date(range.to).getTimezoneOffset() * 60_000 : 0;
  const { step, at: times } = ticks(range, Math.max(2, Math.floor(inner / 100)), offset);
  return times.map((ms) => {
    const text = time(ms, zone.value);
    return { x: place(view, ms), text: step < 86_400_000 ? text.slice(5, 16) : text.slice(0, 10) };
  });
}

function title({ block }: TimelineBlock): string {
  return `${block.ulid}\nlevel ${block.level}, ${count(block.samples)} samples, ${bytes(block.disk_usage_bytes)}`;
}

function Drawn(view: View & { summary: string }): JSX.Element {
  const { drawing, holes, head, props } = view;
  const base = baseline(view);
  const height = base + LANE_PX + AXIS_PX;
  return (
    <svg width={view.inner + GUTTER_PX} height={height} role="img" aria-label={view.summary}>
      <defs>
        <pattern id="hatch" width="6" height="6" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">
          <path class="hatch" d="M0 0V6" />
        </pattern>
      </defs>
      <g transform={`translate(${GUTTER_PX} 0)`}>
        {axis(view).map(({ x, text }) => (
          <g key={text}>
            <path class="tick" d={`M${x} 0V${base + LANE_PX}`} />
            <text class="axis" x={Math.min(x, view.inner - 34)} y={height - 6} text-anchor={x < 30 ? 'start' : 'middle'}>{text}</text>
          </g>
        ))}
        {holes.map((hole) => {
          const [from, to] = [place(view, hole.from), place(view, hole.to)];
          return (
            <g key={hole.from}>
              <path class="gap" d={`M${from} ${base + LANE_PX / 2}H${to}`} />
              {to - from > 70 && <text class="axis" x={(from + to) / 2} y={base + 6} text-anchor="middle">no block</text>}
            </g>
          );
        })}
        {drawing.boxes.map(({ span, x, y, width }) => (
          <g key={span.id} class={span.id === props.shown ? 'shown' : undefined}>
            <rect class={`block ${shade(span, props.colour)}`} x={x} y={y + 1} width={width} height={LANE_PX - 3} rx="2"><title>{title(span)}</title></rect>
            {props.overlaps.has(span.id) && <rect class="hatched" fill="url(#hatch)" x={x} y={y + 1} width={width} height={LANE_PX - 3} />}
            {props.colour === 'proof' && span.block.last_check?.good === false && <text class="mark" x={x + width / 2} y={y + 14} text-anchor="middle">✕</text>}
          </g>
        ))}
        {head && <Head view={view} base={base} head={head} />}
      </g>
      {drawing.rows.map((row) => (
        <text key={row.name} class="axis" x="0" y={row.y + 14}>{row.name}</text>
      ))}
      {head && <text class="axis" x="0" y={base + 14}>head</text>}
    </svg>
  );
}

function Head(props: { view: View; base: number; head: Gap }): JSX.Element {
  const [from, to] = [place(props.view, props.head.from), place(props.view, props.head.to)];
  const wide = Math.max(3, to - from);
  const x = Math.min(from, props.view.inner - wide);
  return <rect class="head" x={x} y={props.base + 1} width={wide} height={LANE_PX - 3} rx="2"><title>The head</title></rect>;
}

/** The same with fewer elements. */
function Canvas(view: View & { summary: string }): JSX.Element {
  const canvas = useRef<HTMLCanvasElement>(null);
  const width = view.inner + GUTTER_PX;
  const height = baseline(view) + LANE_PX + AXIS_PX;
  const colours = useColours();
  useEffect(() => {
    const element = canvas.current;
    const pen = element?.getContext('2d');
    if (element && pen) paint(element, pen, view, width, height);
  }, [view.drawing, view.holes, view.head, view.props.shown, view.props.colour, view.props.overlaps, width, height, colours, zone.value]);
  return <canvas ref={canvas} role="img" aria-label={view.summary} />;
}

function paint(element: HTMLCanvasElement, pen: CanvasRenderingContext2D, view: View, width: number, height: number): void {
  const { drawing, holes, head, props } = view;
  const ratio = devicePixelRatio || 1;
  [element.width, element.height] = [Math.round(width * ratio), Math.round(height * ratio)];
  element.style.width = `${width}px`;
  element.style.height = `${height}px`;
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  const colours = probe(element);
  const base = baseline(view);
  pen.font = '11px sans-serif';
  for (const { x, text } of axis(view)) {
    pen.fillStyle = colours('tick', 'stroke');
    pen.fillRect(GUTTER_PX + x, 0, 1, base + LANE_PX);
    pen.fillStyle = colours('axis', 'fill');
    pen.fillText(text, GUTTER_PX + Math.max(0, Math.min(x - 30, view.inner - 64)), height - 6);
  }
  for (const { span, x, y, width: wide } of drawing.boxes) {
    pen.fillStyle = colours(`block ${shade(span, props.colour)}`, 'fill');
    pen.fillRect(GUTTER_PX + x, y + 1, wide, LANE_PX - 3);
    pen.strokeStyle = colours(span.id === props.shown ? 'edge' : 'rim', 'stroke');
    pen.lineWidth = span.id === props.shown ? 2 : 0.5;
    pen.strokeRect(GUTTER_PX + x, y + 1, wide, LANE_PX - 3);
    if (props.overlaps.has(span.id)) {
      pen.save();
      pen.beginPath();
      pen.rect(GUTTER_PX + x, y + 1, wide, LANE_PX - 3);
      pen.clip();
      pen.strokeStyle = colours('hatch', 'stroke');
      pen.lineWidth = 1.5;
      pen.beginPath();
      for (let from = x - LANE_PX; from < x + wide; from += 6) {
        pen.moveTo(GUTTER_PX + from, y + LANE_PX);
        pen.lineTo(GUTTER_PX + from + LANE_PX, y);
      }
      pen.stroke();
      pen.restore();
    }
  }
  pen.strokeStyle = colours('gap', 'stroke');
  pen.setLineDash([4, 4]);
  pen.lineWidth = 2;
  for (const hole of holes) {
    pen.beginPath();
    pen.moveTo(GUTTER_PX + place(view, hole.from), base + LANE_PX / 2);
    pen.lineTo(GUTTER_PX + place(view, hole.to), base + LANE_PX / 2);
    pen.stroke();
  }
  pen.setLineDash([]);
  if (head) {
    const from = place(view, head.from);
    pen.fillStyle = colours('head', 'fill');
    pen.fillRect(GUTTER_PX + Math.min(from, view.inner - 3), base + 1, Math.max(3, place(view, head.to) - from), LANE_PX - 3);
  }
  pen.fillStyle = colours('axis', 'fill');
  for (const row of drawing.rows) pen.fillText(row.name, 0, row.y + 14);
  if (head) pen.fillText('head', 0, base + 14);
}

/** Asks the styles for the colour of what an SVG would draw with this class. */
function probe(near: HTMLElement): (name: string, what: 'fill' | 'stroke') => string {
  const svg = document.createElementNS('http://www.w3.org/2000/svg', 'svg');
  const rect = document.createElementNS('http://www.w3.org/2000/svg', 'rect');
  svg.append(rect);
  const known = new Map<string, string>();
  return (name, what) => {
    const key = `${what} ${name}`;
    let colour = known.get(key);
    if (colour === undefined) {
      rect.setAttribute('class', name);
      near.parentElement?.append(svg);
      colour = getComputedStyle(rect)[what];
      svg.remove();
      known.set(key, colour);
    }
    return colour;
  };
}
