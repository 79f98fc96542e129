// Files that are served as they are: they lie beside the worker (local/assets.ts), not in it.

import type { Call } from './env.ts'

const HEADERS = { 'cache-control': 'public, max-age=3600', 'x-content-type-options': 'nosniff' }

export async function asset(
  c: Call,
  path: string,
  content_type: string,
  headers: Record<string, string> = {},
): Promise<Response> {
  const { body, status } = await c.env.ASSETS.fetch(new URL(path, c.req.url))
  if (status !== 200) throw new Error(`the asset ${path} is not deployed`)
  return new Response(body, { headers: { ...HEADERS, ...headers, 'content-type': content_type } })
}
