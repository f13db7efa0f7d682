//! The paths that answer a GET, for people who would rather ask by themselves.

export interface Endpoint {
  readonly path: string;
  readonly shows: string;
  /** Parameters that make the link answer something. */
  readonly example?: string;
}

export const ENDPOINTS: readonly (readonly [string, readonly Endpoint[]])[] = [
  ['Health', [
    { path: 'health', shows: 'log, head, blocks, disk, maintenance and alarms in one document' },
    { path: '-/healthy', shows: '200 as long as the process serves' },
    { path: '-/ready', shows: '200 when writes and queries are taken' },
    { path: 'metrics', shows: 'all metrics of the server' },
    { path: 'version', shows: 'the version, without the envelope' },
  ]],
  ['Query', [
    { path: 'api/v1/query', shows: 'an expression at one time', example: 'query=count({__name__!=""})' },
    { path: 'api/v1/query_range', shows: 'an expression over a range', example: 'query=1&start=0&end=60&step=15' },
    { path: 'api/v1/query_exemplars', shows: 'exemplars of the selectors of an expression', example: 'query=up&start=0&end=1' },
    { path: 'api/v1/query_explain', shows: 'what a query would touch, before it runs', example: 'query=up' },
    { path: 'api/v1/parse_query', shows: 'the syntax tree of an expression', example: 'query=rate(up[5m])' },
    { path: 'api/v1/format_query', shows: 'an expression as it is printed', example: 'query=sum(up)by(job)' },
    { path: 'api/v1/series', shows: 'the label sets that a selector finds', example: 'match[]=up&limit=10' },
    { path: 'api/v1/labels', shows: 'the names of labels', example: 'limit=100' },
    { path: 'api/v1/label/job/values', shows: 'the values of a label', example: 'limit=100' },
    { path: 'api/v1/metadata', shows: 'type, unit and help of metrics', example: 'limit=100' },
    { path: 'federate', shows: 'the newest samples of a selector as text', example: 'match[]=up' },
  ]],
  ['Storage', [
    { path: 'api/v1/storage/status', shows: 'everything in short' },
    { path: 'api/v1/storage/head', shows: 'series, samples, chunks and memory of the head' },
    { path: 'api/v1/storage/head/digests', shows: 'count and digest of each series of the head', example: 'limit=10' },
    { path: 'api/v1/storage/wal', shows: 'segments, bytes and durability of the log' },
    { path: 'api/v1/storage/wal/replay-estimate', shows: 'how long a restart would take' },
    { path: 'api/v1/storage/blocks', shows: 'the blocks by time' },
    { path: 'api/v1/storage/compactions', shows: 'what was compacted since the start' },
    { path: 'api/v1/storage/ingest', shows: 'what came by each protocol' },
    { path: 'api/v1/storage/writers', shows: 'who sends, and which series are its own' },
    { path: 'api/v1/storage/rejects', shows: 'the newest refusals' },
    { path: 'api/v1/storage/cardinality', shows: 'series by metric, label and value' },
  ]],
  ['Status', [
    { path: 'api/v1/status/buildinfo', shows: 'versions' },
    { path: 'api/v1/status/runtimeinfo', shows: 'the process' },
    { path: 'api/v1/status/flags', shows: 'the configuration by flag' },
    { path: 'api/v1/status/config', shows: 'the configuration, and where each value comes from' },
    { path: 'api/v1/status/tsdb', shows: 'cardinality as Prometheus shows it' },
    { path: 'api/v1/status/walreplay', shows: 'how far the replay of a start is' },
    { path: 'api/v1/status/verify', shows: 'the last proofs and checks' },
    { path: 'api/v1/status/active_queries', shows: 'the queries that wait and run' },
    { path: 'api/v1/status/slow_queries', shows: 'the slowest queries since the start' },
  ]],
  ['For clients of Prometheus', [
    { path: 'api/v1/rules', shows: 'none: there is no rule engine' },
    { path: 'api/v1/alerts', shows: 'none' },
    { path: 'api/v1/alertmanagers', shows: 'none' },
    { path: 'api/v1/targets', shows: 'none: nothing is scraped' },
    { path: 'api/v1/targets/metadata', shows: 'none' },
    { path: 'api/v1/scrape_pools', shows: 'none' },
    { path: 'api/v1/notifications', shows: 'none' },
  ]],
];

/** The link of an endpoint, with its example's parameters escaped. */
export function linkOf({ path, example }: Endpoint): string {
  return example === undefined ? path : `${path}?${new URLSearchParams(example).toString()}`;
}
