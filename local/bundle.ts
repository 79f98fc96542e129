// The worker as one file, the same for `npm start`, the tests and `wrangler deploy`, whose [build] runs this file.

import { readFile } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import { type BuildOptions, build, type Plugin } from 'esbuild'
import { writeAssets } from './assets.ts'

const root = fileURLToPath(new URL('../', import.meta.url))

// Stripe's client makes an object of every API it knows, so no bundler can tell which are used: two thirds of it are of APIs that
// the gateway never asks, or for events of a kind that it does not take. Those keep their classes and lose their methods, all but
// these. A call of one is a TypeError that names it.
const STRIPE_USED: Record<string, string> = {
  Customers: 'create',
  'Checkout/Sessions': 'create',
  'Billing/Meters': 'listEventSummaries',
  'Billing/MeterEvents': 'create',
}
const STRIPE_NAMESPACES = ['Checkout/index', 'Billing/index']
const UNUSED_CLASS = /^export class (\w+)(?: extends (?:StripeResource|BaseEventNotificationHandler)\b| \{$)/m
const METHOD = /^ {4}(\w+)\(.*\) \{\n(?: {8}.*\n)+ {4}\}\n/gm

const stripeUsed: Plugin = {
  name: 'stripe-used',
  setup: ({ onLoad }) =>
    onLoad(
      { filter: /[\\/]stripe[\\/]esm[\\/](resources[\\/].*|StripeEventNotificationHandler)\.js$/ },
      async ({ path }) => {
        const [, name] = /[\\/]esm[\\/](?:resources[\\/])?(.*)\.js$/.exec(path)!
        if (STRIPE_NAMESPACES.includes(name!.replaceAll('\\', '/'))) return null
        const source = await readFile(path, 'utf8')
        const used = STRIPE_USED[name!.replaceAll('\\', '/')]
        if (used) return { contents: source.replace(METHOD, (method, called) => (called === used ? method : '')) }
        const [, unused] = UNUSED_CLASS.exec(source) ?? []
        return unused ? { contents: `export class ${unused} {}` } : null
      },
    ),
}

// Names of classes and functions are made short, and a trace is read with the source map. The one error that takes its name from its
// class says it in words.
const postgresErrors: Plugin = {
  name: 'postgres-errors',
  setup: ({ onLoad }) =>
    onLoad({ filter: /[\\/]postgres[\\/]cf[\\/]src[\\/]errors\.js$/ }, async ({ path }) => ({
      contents: (await readFile(path, 'utf8')).replace('this.constructor.name', "'PostgresError'"),
    })),
}

// What libraries load whether or not anybody asks for it: a list of all of Stripe's APIs, decimals and further pages of them, the numbers
// of its second version, logical replication and large objects of Postgres, what of drizzle writes, since the gateway reads with it alone, and
// what of zod follows values that contain themselves, as none does that was JSON: without it zod parses as it does where it is turned off.
const NOT_ASKED_FOR: Record<string, string> = {
  'stripe/esm/resources.js': "export { OAuthResource } from './resources/OAuth.js'",
  'stripe/esm/Decimal.js': 'export class Decimal {}',
  'stripe/esm/V2Coercion.js':
    'export const coerceV2RequestData = (data) => data\nexport const coerceV2ResponseData = coerceV2RequestData',
  'stripe/esm/autoPagination.js': 'export const makeAutoPaginationMethods = () => ({})',
  'postgres/cf/src/subscribe.js': 'export default () => ({})',
  'postgres/cf/src/large.js': 'export default class LargeObject {}',
  'hono/dist/utils/mount.js': 'export const createMountedRequest = undefined',
  'zod/v4/core/memoizer.js':
    'export const memoizer = () => undefined\nexport const isRecursiveSchema = () => false\nexport const isBackEdge = isRecursiveSchema\nexport class $ZodCyclicError extends Error {}',
  'drizzle-orm/pg-core/query-builders/insert.js': 'export class PgInsertBuilder {}',
  'drizzle-orm/pg-core/query-builders/update.js': 'export class PgUpdateBuilder {}',
  'drizzle-orm/pg-core/query-builders/delete.js': 'export class PgDeleteBase {}',
  'drizzle-orm/pg-core/query-builders/refresh-materialized-view.js': 'export class PgRefreshMaterializedView {}',
}

const NAMES =
  /[\\/](resources|mount|Decimal|autoPagination|V2Coercion|subscribe|large|memoizer|insert|update|delete|refresh-materialized-view)\.js$/

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

// The same of drizzle's dialect: how it writes, migrates, and reads by relations.
const UNUSED_OF_DIALECT =
  /^ {2}(?:async )?(?:migrate|build(?:DeleteQuery|UpdateSet|UpdateQuery|InsertQuery|RefreshMaterializedViewQuery|RelationalQueryWithoutPK))\([\s\S]*?^ {2}\}\n/gm

const readingDialect: Plugin = {
  name: 'reading-dialect',
  setup: ({ onLoad }) =>
    onLoad({ filter: /[\\/]drizzle-orm[\\/]pg-core[\\/]dialect\.js$/ }, async ({ path }) => ({
      contents: (await readFile(path, 'utf8')).replace(UNUSED_OF_DIALECT, ''),
    })),
}

// Of addresses the gateway reads and compares what it is given: it makes no masks, and has a list of its own of what is not public.
const UNUSED_OF_ADDRESSES =
  /^( {4,8})(?:IPv4\.prototype\.(?:SpecialRanges|range)|[\w.]+\.(?:prefixLengthFromSubnetMask|subnetMaskFromPrefixLength|(?:broadcast|network)AddressFromCIDR|isValidCIDR(?:FourPartDecimal)?|isValidFourPartDecimal|toIPv4MappedAddress|toFixedLengthString|isIPv[46])) = [\s\S]*?^\1\};\n/gm

const addressesRead: Plugin = {
  name: 'addresses-read',
  setup: ({ onLoad }) =>
    onLoad({ filter: /[\\/]ipaddr\.js[\\/]lib[\\/]ipaddr\.js$/ }, async ({ path }) => ({
      contents: (await readFile(path, 'utf8')).replace(UNUSED_OF_ADDRESSES, ''),
    })),
}

// A string of zod has a method for every format that zod knows. The gateway says a format by its own function, such as z.guid().
const FORMAT_OF_STRING =
  /^ {4}\w+\(params\) \{\n {8}return this\.check\((?:core|iso)\._?\w+\((?:Zod\w+, )?params\)\);\n {4}\},?\n/gm

const formatsNamed: Plugin = {
  name: 'formats-named',
  setup: ({ onLoad }) =>
    onLoad({ filter: /[\\/]zod[\\/]v4[\\/]classic[\\/]schemas\.js$/ }, async ({ path }) => ({
      contents: (await readFile(path, 'utf8')).replace(FORMAT_OF_STRING, ''),
    })),
}

// Schemas become JSON Schema where the document of the API is written (local/openapi.ts), never in the worker; drizzle makes a list
// of every type of column it knows, and knows relations. What names these keeps the names: a table with a column of such a type
// is a TypeError when it loads.
const NAMES_ALONE = [
  /[\\/]zod[\\/]v4[\\/]core[\\/](json-schema-processors|json-schema-generator|to-json-schema)\.js$/,
  /[\\/]pg-core[\\/]columns[\\/](bigserial|char|interval|line|macaddr8?|point|real|serial|smallint|smallserial|varchar|inet)\.js$/,
  /[\\/]drizzle-orm[\\/](relations|pg-core[\\/]query-builders[\\/]query)\.js$/,
  /[\\/]pg-core[\\/]columns[\\/](postgis_extension[\\/]geometry|vector_extension[\\/](bit|halfvec|sparsevec|vector))\.js$/,
]

const EXPORTED = /^export (?:const|function|class) (\w+)|^ {2}(\w+),?(?=\n(?: {2}\w+,?\n)*\};)/gm

const namesAlone: Plugin = {
  name: 'names-alone',
  setup: ({ onLoad }) => {
    for (const filter of NAMES_ALONE)
      onLoad({ filter }, async ({ path }) => {
        const exported = (await readFile(path, 'utf8')).matchAll(EXPORTED)
        return {
          contents: Array.from(
            exported,
            ([, declared, listed]) => `export const ${declared ?? listed} = undefined`,
          ).join('\n'),
        }
      })
  },
}

const options = {
  entryPoints: [`${root}gateway/worker.ts`],
  bundle: true,
  format: 'esm',
  target: 'es2024',
  conditions: ['workerd', 'worker', 'browser'],
  external: ['cloudflare:*', 'node:*'],
  plugins: [stripeUsed, postgresErrors, notAskedFor, readingDialect, addressesRead, formatsNamed, namesAlone],
  minify: true,
} satisfies BuildOptions

export async function bundleWorker(): Promise<string> {
  const { outputFiles } = await build({ ...options, write: false })
  return outputFiles[0]!.text
}

if (import.meta.main) {
  writeAssets(`${root}.wrangler/assets`)
  await build({ ...options, outfile: `${root}.wrangler/bundle/worker.js`, sourcemap: 'linked' })
}
