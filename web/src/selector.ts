//! PromQL for labels that came from data.

export type Labels = Readonly<Record<string, string>>;

const LEGACY_METRIC = /^[a-zA-Z_:][a-zA-Z0-9_:]*$/;
const LEGACY_LABEL = /^[a-zA-Z_][a-zA-Z0-9_]*$/;

/** A string of PromQL; JSON's escapes are among Go's. */
export const quoted = (text: string): string => JSON.stringify(text);

export const labelName = (name: string): string => (LEGACY_LABEL.test(name) ? name : quoted(name));

/** The selector that finds a series, or the metric alone where there is nothing but a name. */
export function selectorOf(labels: Labels): string {
  const { __name__: metric, ...rest } = labels;
  const matchers = Object.entries(rest).map(([name, value]) => `${labelName(name)}=${quoted(value)}`);
  const isPlain = metric !== undefined && LEGACY_METRIC.test(metric);
  if (metric !== undefined && !isPlain) matchers.unshift(quoted(metric));
  if (isPlain && matchers.length === 0) return metric;
  return `${isPlain ? metric : ''}{${matchers.join(', ')}}`;
}
