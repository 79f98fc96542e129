// The worker as one file, the same for `npm start`, the tests and `wrangler deploy`, whose [build] runs this file.

import { readFile } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import { type BuildOptions, build, type Plugin } from 'esbuild'

const root = fileURLToPath(new URL('../', import.meta.url))

// Stripe's client makes an object of every API it knows, so no bundler can tell which are used: two thirds of it are of APIs that
// the gateway never asks, or for events of a kind that it does not take. Those keep their classes and lose their methods. A call of
// one is a TypeError that names it.
const STRIPE_USED = ['Customers', 'Checkout/Sessions', 'Billing/Meters', 'Billing/MeterEvents']
const UNUSED_CLASS = /^export class (\w+) extends (?:StripeResource|BaseEventNotificationHandler)\b/m

const stripeUsed: Plugin = {
  name: 'stripe-used',
  setup: ({ onLoad }) =>
    onLoad(
      { filter: /[\\/]stripe[\\/]esm[\\/](resources[\\/].*|StripeEventNotificationHandler)\.js$/ },
      async ({ path }) => {
        const [, name] = /[\\/]esm[\\/](?:resources[\\/])?(.*)\.js$/.exec(path)!
        if (STRIPE_USED.includes(name!.replaceAll('\\', '/'))) return null
        const [, unused] = UNUSED_CLASS.exec(await readFile(path, 'utf8')) ?? []
        return unused ? { contents: `export class ${unused} {}` } : null
      },
    ),
}

// What libraries load whether or not anybody asks for it: decimals and further pages of Stripe's APIs, logical replication and large
// objects of Postgres, and what of drizzle writes, since the gateway reads with it alone.
const NOT_ASKED_FOR: Record<string, string> = {
  'stripe/esm/Decimal.js': 'export class Decimal {}',
  'stripe/esm/autoPagination.js': 'export const makeAutoPaginationMethods = () => ({})',
  'postgres/cf/src/subscribe.js': 'export default () => ({})',
  'postgres/cf/src/large.js': 'export default class LargeObject {}',
  'drizzle-orm/pg-core/query-builders/insert.js': 'export class PgInsertBuilder {}',
  'drizzle-orm/pg-core/query-builders/update.js': 'export class PgUpdateBuilder {}',
  'drizzle-orm/pg-core/query-builders/delete.js': 'export class PgDeleteBase {}',
  'drizzle-orm/pg-core/query-builders/refresh-materialized-view.js': 'export class PgRefreshMaterializedView {}',
}

const NAMES = /[\\/](Decimal|autoPagination|subscribe|large|insert|update|delete|refresh-materialized-view)\.js$/

const notAskedFor: Plugin = {
  name: 'not-asked-for',
  setup: ({ onLoad }) =>
    onLoad({ filter: NAMES }, ({ path }) => {
      const name = Object.keys(NOT_ASKED_FOR).find((file) =>
        path.replaceAll('\\', '/').endsWith(`/node_modules/${file}`),
      )
      return name ? { contents: NOT_ASKED_FOR[name]! } : null
    }),
}

const options = {
  entryPoints: [`${root}gateway/worker.ts`],
  bundle: true,
  format: 'esm',
  target: 'es2024',
  conditions: ['workerd', 'worker', 'browser'],
  external: ['cloudflare:*', 'node:*'],
  plugins: [stripeUsed, notAskedFor],
  minify: true,
  keepNames: true, // errors are told apart by the names of their classes, and a trace in the log has those of its functions
} satisfies BuildOptions

export async function bundleWorker(): Promise<string> {
  const { outputFiles } = await build({ ...options, write: false })
  return outputFiles[0]!.text
}

if (import.meta.main) await build({ ...options, outfile: `${root}.wrangler/bundle/worker.js`, sourcemap: 'linked' })
