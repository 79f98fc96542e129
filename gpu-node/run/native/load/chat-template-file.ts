// The chat template that a folder has, in one of the three files that transformers has put it into over the years.

import { existsSync } from 'node:fs'
import { join } from 'node:path'
import * as z from 'zod'
import { readJson, readSmallFile } from './model-file.ts'

const LENGTH_MAX = 1 << 20

const named = z.array(z.looseObject({ name: z.string(), template: z.string() }))
const byName = z.record(z.string(), z.string())
const schema = z.looseObject({ chat_template: z.union([z.string(), named, byName]).nullish() })

/** Its source; null where there is none, or none for a plain chat. A file of its own goes before the others, as in transformers. */
export function readChatTemplate(folder: string): string | null {
  const file = join(folder, 'chat_template.jinja')
  if (existsSync(file)) return bounded(readSmallFile(file).toString('utf8'))
  return bounded(templateIn(folder, 'chat_template.json') ?? templateIn(folder, 'tokenizer_config.json'))
}

function templateIn(folder: string, file: string): string | null {
  const { chat_template: template } =
    schema.safeParse(readJson(folder, file, 'tokenizer_invalid', { if_missing: {} })).data ?? {}
  if (template == null || typeof template === 'string') return template ?? null
  if (Array.isArray(template)) return template.find(({ name }) => name === 'default')?.template ?? null
  return template.default ?? null
}

function bounded(source: string | null): string | null {
  return source !== null && source.trim() !== '' && source.length <= LENGTH_MAX ? source : null
}
