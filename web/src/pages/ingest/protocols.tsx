//! What comes by each protocol, as rates.

import type { JSX } from 'preact';
import { bytes, count, duration, short } from '../../format';
import { Bars } from '../../ui/spark';
import { type Column, Table } from '../../ui/table';
import type { Rates } from './rates';

export const PROTOCOLS: Readonly<Record<string, string>> = {
  'remote-write': 'Remote write 1.0',
  'remote-write-2': 'Remote write 2.0',
  'otlp-http': 'OTLP over HTTP',
  'otlp-grpc': 'OTLP over gRPC',
  text: 'Text',
};

const rate = (value: number | undefined): string => (value === undefined ? '…' : short(value));
/** Of what was sent, the part that is stored; never rounded up to all of it. */
function accepted({ sent, total }: Rates): string {
  if (sent === 0) return '';
  const share = (100 * (sent - total.samples.rejected)) / sent;
  return total.samples.rejected === 0 ? '100 %' : `${Math.min(99.99, share).toFixed(2)} %`;
}

const COLUMNS: readonly Column<Rates>[] = [
  { name: 'Protocol', cell: (row) => PROTOCOLS[row.protocol] ?? row.protocol, value: (row) => row.protocol },
  {
    name: 'Samples/s',
    numeric: true,
    title: 'Samples stored each second, over the last ten seconds',
    cell: (row) => rate(row.samplesPerSecond),
    value: (row) => row.samplesPerSecond ?? null,
  },
  {
    name: 'Last two minutes',
    cell: (row) => (
      <Bars values={row.history} label={`Samples each second by ${row.protocol}, ${rate(row.samplesPerSecond)} now`} />
    ),
  },
  {
    name: 'Requests/s',
    numeric: true,
    cell: (row) => rate(row.requestsPerSecond),
    value: (row) => row.requestsPerSecond ?? null,
  },
  {
    name: 'Answer p50',
    numeric: true,
    title: 'From the last byte of a request to its answer, durable; over the last minutes',
    cell: ({ total }) => (total.answer_seconds.p50 === null ? '' : duration(total.answer_seconds.p50)),
    value: ({ total }) => total.answer_seconds.p50,
  },
  {
    name: 'p99',
    numeric: true,
    cell: ({ total }) => (total.answer_seconds.p99 === null ? '' : duration(total.answer_seconds.p99)),
    value: ({ total }) => total.answer_seconds.p99,
  },
  {
    name: 'Bytes/s',
    numeric: true,
    title: 'As sent',
    cell: (row) => (row.bytesPerSecond === undefined ? '…' : bytes(Math.round(row.bytesPerSecond))),
    value: (row) => row.bytesPerSecond ?? null,
  },
  {
    name: 'Bytes/sample',
    numeric: true,
    title: 'As sent',
    cell: (row) => (row.bytesPerSample === undefined ? '' : row.bytesPerSample.toFixed(1)),
    value: (row) => row.bytesPerSample ?? null,
  },
  {
    name: 'Rejected/s',
    numeric: true,
    cell: (row) => rate(row.rejectedPerSecond),
    value: (row) => row.rejectedPerSecond ?? null,
  },
  {
    name: 'Accepted',
    numeric: true,
    title: 'Of the samples that were sent since the start',
    cell: accepted,
    value: ({ sent, total }) => (sent === 0 ? null : (sent - total.samples.rejected) / sent),
  },
  {
    name: 'Samples',
    numeric: true,
    title: 'Stored since the start',
    cell: ({ total }) => count(total.samples.added + total.samples.duplicate),
    value: ({ total }) => total.samples.added + total.samples.duplicate,
  },
];

export function Protocols(props: { rates: readonly Rates[] }): JSX.Element {
  const spoken = props.rates.filter((row) => row.requests > 0);
  const silent = props.rates.filter((row) => row.requests === 0).map((row) => PROTOCOLS[row.protocol] ?? row.protocol);
  return (
    <>
      <Table
        label="Protocols"
        columns={COLUMNS}
        rows={spoken}
        keyOf={(row) => row.protocol}
        empty="No write request came since the server started."
      />
      {spoken.length > 0 && silent.length > 0 && <p class="quiet">Nothing yet by {silent.join(', ')}.</p>}
    </>
  );
}
