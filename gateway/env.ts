// The bindings of the worker, checked once: a missing or malformed one is named when the first request comes, and none is served.

import type { Hyperdrive } from '@cloudflare/workers-types'
import type { Context } from 'hono'
import * as z from 'zod'
import { templateNames } from '../contract/public/catalog.ts'
import type { Role } from '../contract/public/operator.ts'
import type { FunctionName, LaneName } from './db/functions.ts'
import type { QueryAnswer, QueryItem, QueryName } from './db/queries.ts'
import { ipRange } from './field/ip-range.ts'
import type { Body } from './field/read-body.ts'

export interface Env {
  TELLER: TellerNamespace
  HYPERDRIVE: Pick<Hyperdrive, 'connectionString'>
  /** The same database under the login that reads views. */
  HYPERDRIVE_READER: Pick<Hyperdrive, 'connectionString'>
  /** Tickets are signed with the first; what the others signed is taken. Seeds of 32 bytes, base64url, with commas between them. */
  TICKET_SEEDS: string
  /** The first owner's key; all other operators have theirs in the database. */
  ADMIN_KEY: string
  /** Results that are kept, fingerprints of bodies, prefix caches and, without RECEIPT_SEED, receipts are keyed by it; without it by ADMIN_KEY. */
  DATA_SECRET?: string
  /** The one before it, for the day that results are kept, and the thirty that responses are stored. */
  DATA_SECRET_BEFORE?: string
  /** Opens /metrics and nothing else; without it nobody is let in there. */
  METRICS_TOKEN?: string
  TELLER_SHARDS: string
  DATABASE_MS_MAX: string
  GENERATION_MS_MAX: string
  REQUESTS_PER_MINUTE: string
  TOKENS_PER_MINUTE: string
  REQUESTS_IN_FLIGHT_MAX: string
  OTHER_REQUESTS_PER_MINUTE: string
  KEPT_BYTES_MAX: string
  RESUME_MS_MAX: string
  STORED_BYTES_MAX: string
  FILE_BYTES_MAX: string
  ACCOUNT_FILE_BYTES_MAX: string
  /** Where files lie; without it none are taken. */
  FILES?: Bucket
  FLOOD: RateLimit
  FAILED_AUTHENTICATION: RateLimit
  /** The way to endpoints of webhooks, which reaches public addresses only. Without it the runtime's own does no other. */
  RECEIVERS?: { fetch: typeof fetch }
  WEBHOOK_MS_MAX: string
  WEBHOOK_WATCH_MS: string
  WEBHOOK_ALLOWED_RANGES?: string
  /** Without these three nobody is written to. */
  EMAIL_PROVIDER?: EmailProvider
  EMAIL_API_KEY?: string
  EMAIL_FROM?: string
  /** Where the provider's API is, if not where it usually is. */
  EMAIL_API_URL?: string
  /** Files that are served as they are. */
  ASSETS: { fetch(url: URL): Promise<Response> }
  LOCAL_MODEL?: string
  /** Receipts are signed with it: 32 random bytes, base64url. */
  RECEIPT_SEED?: string
  /** Without these three nothing is sold by Stripe, told by it, or metered there. */
  STRIPE_SECRET_KEY?: string
  STRIPE_WEBHOOK_SECRET?: string
  STRIPE_METER_ID?: string
  STRIPE_METER_EVENT: string
  STRIPE_API_URL: string
}

/** One request on its way through the worker. (On the hot path `c.get(name)`: `c.var` makes an object of all of them each time.) */
export type Call = Context<App>
/** What a request is formatted with: a call, or what stands in for one where nobody calls. */
export interface Asking {
  env: Env
  get(name: 'request_id'): string
  executionCtx: { waitUntil(work: Promise<unknown>): void }
}

export interface App {
  Bindings: Env
  Variables: {
    request_id: string
    started_ms: number
    operation: Operation
    address: string | null
    /** The hash of the key that asks; null until it is known to be well formed. */
    key_hash: string | null
    /** Of the operator that asks. */
    role: Role | null
    headers: Record<string, string>
    /** It is null until somebody reads it (field/read-body.ts). */
    body: Body | null
  }
}

/** Names what a call does. The name stays when the call is repeated (limits/idempotency.ts); else it is the request's own. */
export interface Operation {
  id: string
  /** A secret of this call is made from it, so that it is the same when the call is repeated; where it is null, it is random. */
  seed: string | null
}

/**
 * Where the bytes of files lie: what is used of a bucket. Deployed it is R2's binding; on a machine of one's own local/bucket.ts binds a
 * folder, or a service that speaks S3, in the same form.
 */
export interface Bucket {
  put(key: string, bytes: Uint8Array): Promise<unknown>
  get(key: string): Promise<{ arrayBuffer(): Promise<ArrayBuffer> } | null>
  /** Those that are not there are gone already. */
  delete(keys: string[]): Promise<unknown>
}

/** Cloudflare's rate limiting: per place and only roughly, but before anything is asked. */
export interface RateLimit {
  limit(options: { key: string }): Promise<{ success: boolean }>
}

/** The part of a Durable Object namespace that the worker uses. */
export interface TellerNamespace {
  idFromName(name: string): unknown
  get(id: unknown): {
    ask(name: FunctionName, items: object[], lane?: LaneName): Promise<object[] | 'busy' | 'unavailable' | 'limited'>
    query<N extends QueryName>(name: N, item: QueryItem<N>): Promise<QueryAnswer<N>>
  }
}

export interface Settings {
  local_model: LocalModel | null
  teller_shards: number
  /** The longest a caller waits for the database. */
  database_ms_max: number
  /** The longest a generation may take; a node stops there. */
  generation_ms_max: number
  /** They hold for an account that has no limits of its own. */
  limits: { requests_per_minute: number; tokens_per_minute: number; requests_in_flight_max: number }
  /** What a key may ask that is no generation. */
  other_requests_per_minute: number
  /** How long a stream with an Idempotency-Key waits for a client that it lost. 0: it ends with its client. */
  resume_ms_max: number
  /** What an account may have of kept results. */
  kept_bytes_max: number
  /** What an account may have of stored responses. */
  stored_bytes_max: number
  file_bytes_max: number
  /** What an account may have of files. */
  account_file_bytes_max: number
  webhooks: {
    /** The longest an endpoint may take to answer. */
    ms_max: number
    /** How long the cron's run waits for what is due later. */
    watch_ms: number
    /** Ranges of addresses that are not public, and may be sent to all the same. */
    allowed: readonly string[]
  }
}

const count = z
  .string()
  .regex(/^[1-9]\d{0,8}$/)
  .transform(Number)
const bytes = z
  .string()
  .regex(/^[1-9]\d{0,14}$/)
  .transform(Number)
/** What a folder, or an engine behind an address, says of the model that is served from it. */
const localModel = z.strictObject({
  id: z.string().min(1),
  template: z.enum(templateNames),
  context: z.number().int().positive(),
})
export type LocalModel = z.infer<typeof localModel>
const ranges = z
  .string()
  .transform((text) => text.split(/[\s,]+/).filter((range) => range !== ''))
  .pipe(z.array(ipRange))
/** Providers of e-mail that are known (webhook/email.ts). */
const EMAIL_PROVIDERS = ['resend', 'postmark', 'sendgrid', 'smtp'] as const
export type EmailProvider = (typeof EMAIL_PROVIDERS)[number]
const rateLimit = z.custom((value) => typeof (value as RateLimit | undefined)?.limit === 'function', 'missing')
const hyperdrive = z.object({ connectionString: z.string().min(1) })
const bindings = z.object({
  TELLER: z.custom((value) => typeof (value as TellerNamespace | undefined)?.idFromName === 'function', 'missing'),
  HYPERDRIVE: hyperdrive,
  HYPERDRIVE_READER: hyperdrive,
  TICKET_SEEDS: z
    .string()
    .regex(
      /^[A-Za-z0-9_-]{43}(,[A-Za-z0-9_-]{43}){0,3}$/,
      'expected one to four seeds: 32 bytes as base64url, commas between',
    ),
  ADMIN_KEY: z.string().min(16),
  DATA_SECRET: z.string().min(16).optional(),
  DATA_SECRET_BEFORE: z.string().min(16).optional(),
  METRICS_TOKEN: z.string().min(16).optional(),
  RECEIPT_SEED: z
    .string()
    .regex(/^[A-Za-z0-9_-]{43}$/, 'expected 32 bytes as base64url')
    .optional(),
  TELLER_SHARDS: count,
  DATABASE_MS_MAX: count,
  GENERATION_MS_MAX: count,
  STRIPE_SECRET_KEY: z.string().min(1).optional(),
  STRIPE_WEBHOOK_SECRET: z.string().min(1).optional(),
  STRIPE_METER_ID: z.string().min(1).optional(),
  STRIPE_METER_EVENT: z.string().min(1).max(100),
  STRIPE_API_URL: z.url({ protocol: /^https?$/ }),
  REQUESTS_PER_MINUTE: count,
  TOKENS_PER_MINUTE: count,
  REQUESTS_IN_FLIGHT_MAX: count,
  OTHER_REQUESTS_PER_MINUTE: count,
  KEPT_BYTES_MAX: count,
  RESUME_MS_MAX: count.or(z.literal('0').transform(Number)),
  STORED_BYTES_MAX: count,
  FILE_BYTES_MAX: count,
  ACCOUNT_FILE_BYTES_MAX: bytes,
  WEBHOOK_MS_MAX: count,
  WEBHOOK_WATCH_MS: count,
  WEBHOOK_ALLOWED_RANGES: ranges.optional(),
  EMAIL_PROVIDER: z.enum(EMAIL_PROVIDERS).optional(),
  EMAIL_API_KEY: z.string().min(1).optional(),
  EMAIL_FROM: z.email().optional(),
  EMAIL_API_URL: z.url({ protocol: /^https?$/ }).optional(),
  FLOOD: rateLimit,
  FAILED_AUTHENTICATION: rateLimit,
  ASSETS: z.custom((value) => typeof (value as Env['ASSETS'] | undefined)?.fetch === 'function', 'missing'),
  LOCAL_MODEL: z
    .string()
    .transform((text) => localModel.parse(JSON.parse(text)))
    .optional(),
})

/** The secret of what is at rest: another than that of entry, so that this one can be changed by itself. */
export function dataSecretOf({ DATA_SECRET, ADMIN_KEY }: Env): string {
  return DATA_SECRET ?? ADMIN_KEY
}

const texts = bindings.omit({
  TELLER: true,
  HYPERDRIVE: true,
  HYPERDRIVE_READER: true,
  FLOOD: true,
  FAILED_AUTHENTICATION: true,
  ASSETS: true,
})

/** The names of all secrets and vars. */
export const textNames: string[] = Object.keys(texts.shape)

/** What is wrong with the secrets and vars, in one line; null where nothing is. */
export function faultOf(vars: Record<string, string>): string | null {
  const [issue] = texts.safeParse(vars).error?.issues ?? []
  return issue ? `${issue.path.join('.')}: ${issue.message}` : null
}

/** Ranges of addresses as a var writes them, with commas between. */
export function rangesIn(text: string): string[] {
  return ranges.parse(text)
}

let checked: Settings | null = null

export function settingsOf(env: Env): Settings {
  checked ??= check(env)
  return checked
}

function check(env: Env): Settings {
  const { HYPERDRIVE, HYPERDRIVE_READER } = env
  const parsed = bindings.safeParse({
    ...env,
    HYPERDRIVE: { connectionString: HYPERDRIVE?.connectionString },
    HYPERDRIVE_READER: { connectionString: HYPERDRIVE_READER?.connectionString },
  })
  if (!parsed.success) throw new Error(`bindings: ${z.prettifyError(parsed.error)}`)
  return {
    local_model: parsed.data.LOCAL_MODEL ?? null,
    teller_shards: parsed.data.TELLER_SHARDS,
    database_ms_max: parsed.data.DATABASE_MS_MAX,
    generation_ms_max: parsed.data.GENERATION_MS_MAX,
    limits: {
      requests_per_minute: parsed.data.REQUESTS_PER_MINUTE,
      tokens_per_minute: parsed.data.TOKENS_PER_MINUTE,
      requests_in_flight_max: parsed.data.REQUESTS_IN_FLIGHT_MAX,
    },
    other_requests_per_minute: parsed.data.OTHER_REQUESTS_PER_MINUTE,
    kept_bytes_max: parsed.data.KEPT_BYTES_MAX,
    resume_ms_max: parsed.data.RESUME_MS_MAX,
    stored_bytes_max: parsed.data.STORED_BYTES_MAX,
    file_bytes_max: parsed.data.FILE_BYTES_MAX,
    account_file_bytes_max: parsed.data.ACCOUNT_FILE_BYTES_MAX,
    webhooks: {
      ms_max: parsed.data.WEBHOOK_MS_MAX,
      watch_ms: parsed.data.WEBHOOK_WATCH_MS,
      allowed: parsed.data.WEBHOOK_ALLOWED_RANGES ?? [],
    },
  }
}
