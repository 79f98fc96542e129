// The catalog of models: what each is, how it is asked, what it costs first. It is data (models/catalog.json is the one that comes with a
// release), published into the database, and read from there by every gateway.

import * as z from 'zod'
import { moment } from './scalar.ts'
import { text } from './text.ts'

/** How a chat becomes a prompt. `folder`: as the folder of the model, or the engine behind an address, has it. */
export const templateNames = [
  'ziya-coding',
  'ziya-llama',
  'plain',
  'phind',
  'wizardcoder',
  'codefuse',
  'folder',
] as const
export type TemplateName = (typeof templateNames)[number]

const name = z
  .string()
  .max(200)
  .regex(/^[\x21-\x7e]+$/, 'expected visible characters of ASCII')
const words = text.min(1).max(500)
// What is no number goes to no later check.
const nanousd = z.string().regex(/^\d{1,18}$/, { error: 'expected nano-USD as a decimal string', abort: true })

const price = z
  .strictObject({
    input_nanousd_per_token: nanousd,
    cached_input_nanousd_per_token: nanousd.exactOptional(),
    output_nanousd_per_token: nanousd,
  })
  .refine(
    ({ cached_input_nanousd_per_token: cached, input_nanousd_per_token: input }) =>
      cached === undefined || BigInt(cached) <= BigInt(input),
    { path: ['cached_input_nanousd_per_token'], error: 'expected no more than input_nanousd_per_token' },
  )

export const catalogModel = z.strictObject({
  id: name,
  /** Other names that it is asked for by. */
  aliases: z.array(name).max(32).exactOptional(),
  /** Models that are asked in its place, in this order, while no node serves it. */
  fallbacks: z.array(name).max(8).exactOptional(),
  template: z.enum(templateNames),
  /** Where the template is published. */
  template_source: words.exactOptional(),
  context_tokens: z.int().min(1).max(16_777_216),
  /** As exactly as it is known. */
  created: z
    .string()
    .regex(
      /^(19[7-9]\d|[2-9]\d{3})(-(0[1-9]|1[0-2])(-(0[1-9]|[12]\d|3[01]))?)?$/,
      'expected a date since 1970, as 2023-09-12',
    ),
  owned_by: words,
  /** What of its card applies where a request says nothing. */
  sampling: z
    .strictObject({
      temperature: z.number().min(0).max(2).exactOptional(),
      top_p: z.number().gt(0).max(1).exactOptional(),
      top_k: z.int().min(0).max(1_000_000).exactOptional(),
      min_p: z.number().min(0).max(1).exactOptional(),
      repetition_penalty: z.number().gt(0).max(10).exactOptional(),
      frequency_penalty: z.number().min(-2).max(2).exactOptional(),
      presence_penalty: z.number().min(-2).max(2).exactOptional(),
    })
    .exactOptional(),
  max_tokens_default: z.int().min(1).exactOptional(),
  /** The list price, which is published with the row, and again when it changes here. */
  price: price.exactOptional(),
  /** It judges what others write, and writes nothing. */
  judges: z.literal(true).exactOptional(),
  /** The row that judges its answers where a chat asks for the best of several. */
  judged_by: name.exactOptional(),
  licence: words.exactOptional(),
  humaneval: z.strictObject({ pass_at_1_percent: z.number().min(0).max(100), source: words }).exactOptional(),
  /** Why nothing here can serve it. */
  unserved: words.exactOptional(),
})

export type CatalogModel = z.infer<typeof catalogModel>

interface Named {
  id: string
  judges?: true
  judged_by?: string
  aliases?: string[]
  fallbacks?: string[]
}

/** Names are one model's each, and a fallback is a row of its own. */
function faultsBetween(models: readonly Named[], fault: (path: (string | number)[], message: string) => void): void {
  const owners = new Map<string, number>()
  const ids = new Set(models.map(({ id }) => id))
  const judges = new Set(models.flatMap(({ id, judges }) => (judges ? [id] : [])))
  for (const [at, { id, aliases = [], fallbacks = [], judged_by }] of models.entries()) {
    if (judged_by !== undefined && !judges.has(judged_by))
      fault([at, 'judged_by'], 'expected the id of a row that judges')
    const names = [['id'], ...aliases.map((_, place) => ['aliases', place])]
    for (const [place, given] of [id, ...aliases].entries()) {
      const owner = owners.get(given)
      if (owner !== undefined) fault([at, ...names[place]!], `'${given}' is the name of models[${owner}] already`)
      owners.set(given, owner ?? at)
    }
    for (const [place, given] of fallbacks.entries())
      if (given === id || !ids.has(given) || fallbacks.indexOf(given) < place)
        fault([at, 'fallbacks', place], `expected the id of another row, once`)
  }
}

export const catalogModels = z
  .array(catalogModel)
  .min(1)
  .max(1000)
  .superRefine((models, { addIssue }) =>
    faultsBetween(models, (path, message) => addIssue({ code: 'custom', path, message })),
  )

/** What `models/catalog.json` and whoever publishes another one give. */
export const catalogFile = z.strictObject({ $schema: z.string().exactOptional(), models: catalogModels })

/** Who published it: the release that was installed, or an operator. */
export const catalogSource = z.enum(['release', 'operator'])

export const catalog = z.strictObject({
  object: z.literal('catalog'),
  version: z.int().min(1),
  published_at: moment,
  source: catalogSource,
  models: z.array(catalogModel),
})

export type Catalog = z.infer<typeof catalog>
