// What the tests in a browser stand on: the real server on a directory of its own, and pages that hold what every page has
// to hold. Everything that is started here ends with the test that started it.
//
//   test('...', async (t) => {
//     const server = await serve(t, { keys: { 'web.enable_admin_api': true }, data: 'up{job="a"} 1\n' });
//     const page = await open(t, server, 'storage?block=...');
//     await page.getByRole('heading', { name: 'Blocks' }).waitFor();
//     await accessible(page);
//   });
//
// A page may have no errors in its console or its scripts, no violation of its policy, and no request to another host; what
// a test provokes it names in `expect`. No test waits for a time: it waits for what it wants to see.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import http from 'node:http';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { extname, join, normalize, resolve } from 'node:path';
import { after } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { chromium } from 'playwright-core';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const AXE = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');

/** A built console that stands in for the one in the server, where it is set. */
const DIST = process.env.CHRONOLITH_CONSOLE_DIST;
/** The program under test. */
export const BINARY = process.env.CHRONOLITH_BINARY ?? join(ROOT, 'target/debug/chronolith');
/** How long anything that is waited for may take. */
export const LIMIT_MS = 30_000;
/** Between two looks at something that another process does. */
const POLL_MS = 20;

export const PAGES = ['query', 'explore', 'storage', 'verify', 'ingest', 'status'];

/** Waits until `done` gives something that is true, and gives that. */
export async function until(what, done) {
  const end = performance.now() + LIMIT_MS;
  let last;
  while (performance.now() < end) {
    try {
      const value = await done();
      if (value) return value;
    } catch (error) {
      last = error;
    }
    await delay(POLL_MS);
  }
  throw new Error(`${what}: not within ${LIMIT_MS} ms`, { cause: last });
}

const endings = new WeakMap();

/** Does something at the end of a test; what came last goes first, so that a page is gone before its server. */
function atEnd(t, work) {
  if (!endings.has(t)) {
    endings.set(t, []);
    t.after(async () => {
      const faults = [];
      for (const ending of endings.get(t).reverse()) await ending().catch((fault) => faults.push(fault));
      if (faults.length > 0) throw faults[0];
    });
  }
  endings.get(t).push(work);
}

// ------------------------------------------------------------------------------------------------ the server

/** A running `chronolith serve`. */
class Server {
  #keys;
  #process;
  #log = [];

  constructor(dir, keys) {
    this.dir = dir;
    this.#keys = keys;
  }

  /** Where it is, with the prefix that it was told to serve below. */
  get url() {
    return `${this.origin}${this.#keys['web.route_prefix'] ?? ''}/`;
  }

  /** What it wrote to its log, one line each. */
  get log() {
    return this.#log;
  }

  get dataDir() {
    return join(this.dir, 'data');
  }

  async start() {
    const env = Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith('CHRONOLITH_')));
    const keys = {
      data_dir: this.dataDir,
      // The same port again after a restart.
      listen: this.address ?? '127.0.0.1:0',
      'otlp.grpc_listen': '',
      'otlp.http_listen': '',
      ...this.#keys,
    };
    for (const [key, value] of Object.entries(keys)) {
      env[`CHRONOLITH_${key.replaceAll('.', '_').toUpperCase()}`] = String(value);
    }
    const child = spawn(BINARY, ['--log-format', 'json', 'serve'], { env, stdio: ['ignore', 'ignore', 'pipe'] });
    this.#process = child;
    this.ended = new Promise((resolve) => {
      child.on('error', (error) => resolve(`${BINARY}: ${error.message}`));
      child.on('exit', (code, signal) => resolve(`ended with ${signal ?? code}`));
    });
    let rest = '';
    const listening = new Promise((resolve) => {
      child.stderr.setEncoding('utf8').on('data', (piece) => {
        const lines = (rest + piece).split('\n');
        rest = lines.pop();
        for (const line of lines) {
          this.#log.push(line);
          const found = /"message":"listening","address":"([^"]+)","key":"listen"/.exec(line);
          if (found) resolve(found[1]);
        }
      });
    });
    const early = this.ended.then((how) => {
      throw new Error(`the server ${how}\n${this.#log.slice(-20).join('\n')}`);
    });
    early.catch(() => undefined);
    this.address = await Promise.race([listening, early]);
    this.origin = `http://${this.address}`;
  }

  async ready() {
    await until('a server that is ready', async () => (await this.get('-/ready')).ok);
  }

  /** Ends it: in order, or with SIGKILL. */
  async stop(signal = 'SIGTERM') {
    this.#process.kill(signal);
    await this.ended;
  }

  /** Ends it with SIGKILL and starts it again at the same address. */
  async restart() {
    await this.stop('SIGKILL');
    await this.start();
    await this.ready();
  }

  get(path, init) {
    return fetch(new URL(path, this.url), init);
  }

  /** What an endpoint answers in its envelope. */
  async data(path, init) {
    const answer = await this.get(path, init);
    const body = await answer.json();
    assert.equal(body.status, 'success', `${path}: ${JSON.stringify(body)}`);
    return body.data;
  }

  /** Stores samples, in the text format of Prometheus; without times they are of now. */
  async write(text) {
    const answer = await this.get('api/v1/import/prometheus', { method: 'POST', body: text });
    assert.ok(answer.ok, `import: ${answer.status} ${await answer.text()}`);
  }
}

/**
 * Starts a server for a test. `keys` are configuration keys and values; `data` is written to it; `ready: false` does not
 * wait until it takes writes.
 */
export async function serve(t, { keys = {}, data, ready = true } = {}) {
  const dir = await mkdtemp(join(tmpdir(), 'chronolith-browser-'));
  const server = new Server(dir, keys);
  atEnd(t, async () => {
    await server.stop('SIGKILL').catch(() => undefined);
    await rm(dir, { recursive: true, force: true });
  });
  await server.start();
  if (ready) await server.ready();
  if (data !== undefined) await server.write(data);
  return server;
}

// ------------------------------------------------------------------------------------------------ proxies

/**
 * A proxy below `prefix` (`/metrics/db`), as people put one in front. It passes the path on as it came, or, with `strip`,
 * without the prefix, and changes nothing else. What does not lie below the prefix it answers with 404.
 */
export async function proxy(t, server, { prefix, strip }) {
  const agent = new http.Agent({ keepAlive: false });
  const front = http.createServer((request, answer) => {
    if (request.url !== prefix && !request.url.startsWith(`${prefix}/`)) {
      answer.writeHead(404, { 'content-type': 'text/plain' }).end('not behind this proxy\n');
      return;
    }
    const path = strip ? request.url.slice(prefix.length) || '/' : request.url;
    const { hostname, port } = new URL(server.origin);
    const options = { agent, hostname, port, path, method: request.method, headers: { ...request.headers, host: server.address } };
    const passed = http.request(options, (response) => {
      answer.writeHead(response.statusCode, response.headers);
      response.pipe(answer);
    });
    passed.on('error', () => answer.destroy());
    answer.on('close', () => passed.destroy());
    request.pipe(passed);
  });
  await new Promise((resolve) => front.listen(0, '127.0.0.1', resolve));
  atEnd(t, async () => {
    front.closeAllConnections();
    front.close();
  });
  const origin = `http://127.0.0.1:${front.address().port}`;
  return { origin, url: `${origin}${prefix}/` };
}

// ------------------------------------------------------------------------------------------------ the browser

let launched;

/** One browser for all tests of a file. */
function browser() {
  launched ??= chromium.launch({
    executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
    args: [
      '--no-sandbox',
      '--disable-gpu',
      '--no-first-run',
      '--disable-background-networking',
      '--disable-component-update',
      '--disable-sync',
    ],
  });
  return launched;
}

after(async () => {
  await (await launched)?.close();
});

/**
 * Opens a page of a server, or of a proxy before one, in a browser context of its own. At the end of the test it is checked
 * for what no page may do, but for messages that `expect`, a list of patterns, allows. `context` is handed to the browser:
 * `colorScheme`, `viewport`, `timezoneId`. `before` gets the page before it is opened.
 */
export async function open(t, server, path = 'query', { expect = [], context = {}, before } = {}) {
  const own = await (await browser()).newContext({
    viewport: { width: 1280, height: 900 },
    reducedMotion: 'reduce',
    ...context,
  });
  const page = await own.newPage();
  page.setDefaultTimeout(LIMIT_MS);
  const faults = watch(page, new URL(server.url).origin);
  atEnd(t, async () => {
    await own.close();
    const unmeant = faults.filter((fault) => !expect.some((pattern) => pattern.test(fault)));
    assert.deepEqual(unmeant, [], 'what no page may do');
  });
  if (DIST) await serveFrom(resolve(DIST), page, server);
  await before?.(page);
  await page.goto(new URL(path, server.url).href);
  return page;
}

/**
 * Answers for the console from a directory, `web/dist` say, with the headers of the server: for work on the console
 * without building the server each time.
 */
async function serveFrom(dist, page, server) {
  const TYPES = { '.html': 'text/html', '.js': 'text/javascript', '.css': 'text/css', '.svg': 'image/svg+xml' };
  const base = new URL(server.url).pathname;
  const headers = Object.fromEntries((await fetch(new URL('query', server.url))).headers);
  for (const name of ['content-encoding', 'content-length', 'content-type', 'etag']) delete headers[name];
  await page.route('**/*', async (route) => {
    const { pathname } = new URL(route.request().url());
    const path = pathname.startsWith(base) ? decodeURIComponent(pathname.slice(base.length)) : '';
    const file = normalize(PAGES.includes(path) ? 'index.html' : path);
    if (!TYPES[extname(file)] || file.startsWith('..')) return route.fallback();
    const body = await readFile(join(dist, file)).catch(() => undefined);
    // What follows a redirect does not come by here, so the page may be the server's own.
    if (body === undefined) return route.fallback();
    return route.fulfill({ headers: { ...headers, 'content-type': TYPES[extname(file)] }, body });
  });
}

/** Notes what no page may do. */
function watch(page, origin) {
  const faults = [];
  page.on('pageerror', (error) => faults.push(`error in a script: ${error.stack ?? error.message}`));
  page.on('console', (message) => {
    if (message.type() === 'error' || message.type() === 'warning') {
      faults.push(`console ${message.type()}: ${message.text()} ${message.location().url}`);
    }
  });
  page.on('request', (request) => {
    const url = new URL(request.url());
    if (!['data:', 'blob:'].includes(url.protocol) && url.origin !== origin) {
      faults.push(`request to another host: ${request.url()}`);
    }
  });
  void page.addInitScript(() => {
    addEventListener('securitypolicyviolation', (event) => {
      console.error(`violation of the policy: ${event.violatedDirective} ${event.blockedURI} ${event.sourceFile}:${event.lineNumber}`);
    });
  });
  return faults;
}

/** Waits until the shell shows the page: its header is there, and the part that was loaded for it. */
export async function shown(page, name) {
  await page.locator('header.top nav a[aria-current="page"]', { hasText: name }).waitFor();
  await page.locator('main > :not(h1)').first().waitFor();
}

/** Holds a page, as it is now, to what axe checks, in light and in dark colours. */
export async function accessible(page, { exclude = [] } = {}) {
  const stands = await page.evaluate(() => document.documentElement.dataset.theme);
  for (const theme of ['light', 'dark']) {
    await page.evaluate((name) => (document.documentElement.dataset.theme = name), theme);
    if (!(await page.evaluate(() => 'axe' in window))) await page.evaluate(AXE);
    const violations = await page.evaluate(async (exclude) => {
      const found = await window.axe.run({ exclude }, { resultTypes: ['violations'] });
      return found.violations.map(({ id, impact, help, nodes }) => ({
        id,
        impact,
        help,
        nodes: nodes.slice(0, 5).map((node) => `${node.html.slice(0, 200)} ${node.failureSummary}`),
      }));
    }, exclude);
    assert.deepEqual(violations, [], `axe, ${theme} colours, ${page.url()}`);
  }
  await page.evaluate((name) => {
    if (name === undefined) delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = name;
  }, stands);
}
