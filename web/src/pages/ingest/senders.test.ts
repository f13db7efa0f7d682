import { expect, test } from 'vitest';
import { SENDERS, type Server, configOf, grpcTarget } from './senders';

const server: Server = {
  base: new URL('https://metrics.example.org/tsdb/'),
  grpcListen: '0.0.0.0:4317',
  hasUsers: false,
  takesDeltas: false,
};

test('configuration of every sender stands behind the prefix of the page', () => {
  for (const [sender] of SENDERS) expect(configOf(sender, server)).toContain('https://metrics.example.org/tsdb/api/v1/');
  expect(configOf('prometheus', server)).toContain('- url: https://metrics.example.org/tsdb/api/v1/write\n');
  expect(configOf('prometheus', server)).not.toContain('protobuf_message');
  expect(configOf('prometheus2', server)).toContain('protobuf_message: io.prometheus.write.v2.Request');
  // The exporter adds /v1/metrics to an endpoint, and nothing to an endpoint of metrics.
  expect(configOf('collector', server)).toContain('endpoint: https://metrics.example.org/tsdb/api/v1/otlp\n');
  expect(configOf('sdk', server)).toContain('ENDPOINT=https://metrics.example.org/tsdb/api/v1/otlp/v1/metrics\n');
});

test('gRPC has the host of the page and the port of the server, and says where it is local', () => {
  expect(grpcTarget(server)).toEqual({ target: 'metrics.example.org:4317', isLocal: false });
  expect(grpcTarget({ ...server, grpcListen: '127.0.0.1:14317' })).toEqual({ target: 'metrics.example.org:14317', isLocal: true });
  expect(grpcTarget({ ...server, grpcListen: '' })).toBeUndefined();
  expect(configOf('collector', { ...server, grpcListen: '' })).not.toContain('gRPC');
});

test('credentials and deltas are there where the server asks for them', () => {
  const guarded = { ...server, hasUsers: true, takesDeltas: true };
  for (const [sender] of SENDERS) expect(configOf(sender, guarded).toLowerCase()).toMatch(/token/);
  expect(configOf('sdk', server)).toContain('TEMPORALITY_PREFERENCE=cumulative');
  expect(configOf('sdk', guarded)).not.toContain('TEMPORALITY');
});
