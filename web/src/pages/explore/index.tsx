//! Explore: which metrics and labels the series are of, which are new, and which nobody asks for.

import type { JSX } from 'preact';
import { useEffect, useState } from 'preact/hooks';
import { call } from '../../api/client';
import { count, percent, short } from '../../format';
import { hrefOf, place } from '../../router';
import { type Resource, useResource } from '../../state/resource';
import { Loaded, Moment, Panel } from '../../ui/parts';
import { Bars } from '../../ui/spark';
import { type Asked, LIMITS, askedOf, toRequest } from './asked';
import { FocusValues, LabelNames, Metrics, Pairs, change } from './tables';
import type { Cardinality } from './types';
import { Writers } from './writers';
import '../../ui/spark.css';
import './explore.css';

export default function Explore(): JSX.Element {
  const asked = askedOf(place.value.params);
  const counted = useResource(JSON.stringify(asked), (signal) =>
    call<Cardinality>('api/v1/storage/cardinality', toRequest(asked), { signal }));
  const data = useLast(counted);
  return (
    <div class="page-explore">
      <Panel title="Series of the head" actions={<button type="button" onClick={counted.refresh}>Count again</button>}>
        <Question asked={asked} labels={data?.labels.map(({ name }) => name) ?? []} />
        <Loaded of={counted}>{({ data: newest }) => <Totals data={newest} asked={asked} />}</Loaded>
      </Panel>
      {data && data.head_series > 0 && (
        <>
          {data.focus && <FocusValues data={data} asked={asked} focus={data.focus} />}
          <Metrics data={data} asked={asked} />
          <div class="halves">
            <LabelNames data={data} asked={asked} />
            <Pairs data={data} asked={asked} />
          </div>
        </>
      )}
      <Writers headSeries={data?.head_series ?? 0} />
    </div>
  );
}

/** The newest answer, which stays while another is awaited, so that tables do not vanish under the pointer. */
function useLast(counted: Resource<{ readonly data: Cardinality }>): Cardinality | undefined {
  const [last, setLast] = useState<Cardinality>();
  const newest = counted.data?.data;
  useEffect(() => {
    if (newest) setLast(newest);
  }, [newest]);
  return newest ?? (counted.error ? undefined : last);
}

/** What is asked for; it is asked when somebody is done typing. */
function Question(props: { asked: Asked; labels: readonly string[] }): JSX.Element {
  const { asked } = props;
  const [match, setMatch] = useState(asked.match);
  const [focus, setFocus] = useState(asked.focus);
  // A click on a name, or the Back button.
  useEffect(() => setMatch(asked.match), [asked.match]);
  useEffect(() => setFocus(asked.focus), [asked.focus]);
  return (
    <form
      class="asked"
      role="search"
      aria-label="Series to count"
      onSubmit={(event) => {
        event.preventDefault();
        change(asked, { match, focus });
      }}
    >
      <label>
        Selector
        <input value={match} placeholder='all series, or {job="api"}' spellcheck={false} autocomplete="off" onInput={(event) => setMatch(event.currentTarget.value)} />
      </label>
      <label>
        Focus label
        <input value={focus} list="label-names" spellcheck={false} autocomplete="off" size={14} onInput={(event) => setFocus(event.currentTarget.value)} />
        <datalist id="label-names">{props.labels.map((name) => <option key={name} value={name} />)}</datalist>
      </label>
      <label>
        Top
        <select value={String(asked.limit)} onChange={(event) => change(asked, { match, focus, limit: Number(event.currentTarget.value) })}>
          {LIMITS.map((limit) => <option key={limit} value={String(limit)}>{limit}</option>)}
        </select>
      </label>
      <button type="submit" class="primary">Run</button>
      {(asked.match !== '' || asked.focus !== '') && (
        <button type="button" onClick={() => change(asked, { match: '', focus: '' })}>Clear</button>
      )}
    </form>
  );
}

function Totals(props: { data: Cardinality; asked: Asked }): JSX.Element {
  const { data } = props;
  if (data.head_series === 0) {
    return (
      <p class="empty">
        The head holds no series. They come with the next samples: <a href={hrefOf('ingest')}>Ingest</a> says how to send some.
      </p>
    );
  }
  const created = data.created.map(({ series }) => series);
  const [now, hourBefore] = [created.at(-1) ?? 0, created.at(-2) ?? 0];
  const titles = data.created.map(({ hour, series }) => `${hour.slice(0, 16).replace('T', ' ')} UTC: ${count(series)}`);
  return (
    <div class="totals">
      <div>
        <strong>{count(data.series)}</strong>
        <span class="quiet">
          series{data.series !== data.head_series && `, ${percent(data.series, data.head_series) || '0 %'} of ${count(data.head_series)}`}
        </span>
      </div>
      <div><strong>{count(data.metric_names)}</strong><span class="quiet">metric names</span></div>
      <div><strong>{count(data.label_names)}</strong><span class="quiet">label names</span></div>
      <div>
        <span><Moment at={data.min_time} relative /> to <Moment at={data.max_time} relative /></span>
        <span class="quiet">samples of the head</span>
      </div>
      <div class="churn">
        <Bars wide values={created} titles={titles} label={`Series created in each of the last 24 hours, ${count(now)} in this one`} />
        <span class="quiet">
          new series each hour, all senders: {short(now)} in this one, {short(hourBefore)} in the one before; counted since <Moment at={data.since} relative />
        </span>
      </div>
    </div>
  );
}
