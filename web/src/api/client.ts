//! Requests to the server, in Prometheus' envelope.

import { BASE } from '../router';

/** What an answer carries beside its data. */
export interface Answer<T> {
  readonly data: T;
  readonly warnings: readonly string[];
  readonly infos: readonly string[];
}

/** An answer that is none: the server's own words, or why there are none. */
export class ApiError extends Error {
  constructor(
    /** The status code; 0 where no answer came. */
    readonly status: number,
    /** Prometheus' error type, `bad_data` say; empty where the answer had none. */
    readonly type: string,
    message: string,
    /** What was asked, for a person who asks again by hand. */
    readonly request: string,
  ) {
    super(message);
    this.name = 'ApiError';
  }
}

export type Params = Record<string, string | number | boolean | readonly string[] | undefined>;

export interface Options {
  readonly signal?: AbortSignal;
  readonly method?: 'GET' | 'POST';
  /** Sent as JSON, where the endpoint takes that. */
  readonly json?: unknown;
}

function encode(params: Params): URLSearchParams {
  const encoded = new URLSearchParams();
  for (const [name, value] of Object.entries(params)) {
    if (value === undefined) continue;
    if (Array.isArray(value)) for (const one of value) encoded.append(name, one);
    else encoded.append(name, String(value));
  }
  return encoded;
}

/** A body of this form, or an error that says what came instead. */
async function parse(response: Response, request: string): Promise<Record<string, unknown>> {
  const text = await response.text();
  try {
    const body: unknown = JSON.parse(text);
    if (typeof body === 'object' && body !== null) return body as Record<string, unknown>;
  } catch {
    // Told below, with what came.
  }
  const shown = text.trim().slice(0, 300) || response.statusText || 'an empty answer';
  throw new ApiError(response.status, '', shown, request);
}

async function send(path: string, params: Params, options: Options): Promise<[Response, string]> {
  const method = options.method ?? 'GET';
  const url = new URL(path, BASE);
  const encoded = encode(params);
  const init: RequestInit = { method, credentials: 'same-origin', cache: 'no-store' };
  if (options.signal) init.signal = options.signal;
  if (options.json !== undefined) {
    init.body = JSON.stringify(options.json);
    init.headers = { 'content-type': 'application/json' };
    url.search = encoded.toString();
  } else if (method === 'POST') {
    init.body = encoded;
  } else {
    url.search = encoded.toString();
  }
  // What was sent as a form is told as a query string: the server reads both.
  const form = init.body instanceof URLSearchParams ? `?${init.body.toString()}` : '';
  const request = `${method} ${url.href}${form}`;
  try {
    return [await fetch(url, init), request];
  } catch (error) {
    if (error instanceof DOMException && error.name === 'AbortError') throw error;
    throw new ApiError(0, '', 'the server does not answer', request);
  }
}

/** Asks an endpoint that answers in the envelope. */
export async function call<T>(path: string, params: Params = {}, options: Options = {}): Promise<Answer<T>> {
  const [response, request] = await send(path, params, options);
  if (response.status === 204) return { data: undefined as T, warnings: [], infos: [] };
  const body = await parse(response, request);
  if (body['status'] !== 'success') {
    const message = typeof body['error'] === 'string' ? body['error'] : response.statusText;
    const type = typeof body['errorType'] === 'string' ? body['errorType'] : '';
    throw new ApiError(response.status, type, message, request);
  }
  const list = (value: unknown): string[] => (Array.isArray(value) ? value.map(String) : []);
  return { data: body['data'] as T, warnings: list(body['warnings']), infos: list(body['infos']) };
}

/** Asks an endpoint whose answer is one JSON document, whatever its status code. */
export async function document<T>(path: string, options: Options = {}): Promise<T> {
  const [response, request] = await send(path, {}, options);
  return (await parse(response, request)) as T;
}
