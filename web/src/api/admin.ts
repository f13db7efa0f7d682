//! What only an administrator may do, and in which words it is refused.

import { ApiError, call } from './client';

/** The configuration, by the names of the flags. */
export type Flags = Readonly<Record<string, string>>;

export async function loadFlags(signal: AbortSignal): Promise<Flags> {
  return (await call<Flags>('api/v1/status/flags', {}, { signal })).data;
}

/** Whether this server takes admin requests at all; `undefined` where it does not tell. */
export function isAdminOn(flags: Flags | undefined): boolean | undefined {
  const flag = flags?.['web.enable-admin-api'];
  return flag === undefined ? undefined : flag === 'true';
}

export const ADMIN_OFF =
  'This server takes no admin requests. Start it with --web.enable-admin-api, or set web.enable_admin_api = true in its configuration.';

/** Why a request of an administrator was refused, and what to do about it. */
export function refusal(error: unknown): string {
  if (!(error instanceof ApiError)) return error instanceof Error ? error.message : String(error);
  if (error.status === 403 && error.type === 'unavailable') return ADMIN_OFF;
  // The server also refuses pages of another origin, and says what to set then.
  if (error.status === 403 && error.message.includes('credential')) return 'Your credential lacks the right to do that: it needs the right “admin”.';
  if (error.status === 401) return 'The server wants a credential for that.';
  if (error.status === 409) return `Not begun: ${error.message}.`;
  return `${error.status > 0 ? `${error.status} ` : ''}${error.message}`;
}

/** Begins work that goes on by itself; how far it is stands in the server's own state. */
export async function begin(path: string, params: Record<string, string> = {}): Promise<void> {
  await call(`api/v1/admin/storage/${path}`, { ...params, wait: 'false' }, { method: 'POST' });
}
