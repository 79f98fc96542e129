// The models we serve: id, prompt template, context, default parameters and list price. A new model is a new row.
// The price that counts is the one published in the database; what stands here is what a deployment publishes.

import { neutralSampling, type SamplingParameters } from '../contract/internal/generation.ts'
import type { TemplateName } from './prompt/template.ts'

export interface CatalogModel {
  id: string
  template: TemplateName
  context_tokens: number
  created_unix_s: number
  owned_by: string
  sampling: Omit<SamplingParameters, 'seed'>
  max_tokens_default: number
  price: { input_nanousd_per_token: bigint; output_nanousd_per_token: bigint }
}

// The card of Ziya-Coding: max_new_tokens 512, do_sample, top_p 0.85, temperature 1.0, repetition_penalty 1.0.
const card: CatalogModel['sampling'] = { ...neutralSampling, top_p: 0.85 }

const price34b = { input_nanousd_per_token: 600n, output_nanousd_per_token: 1800n }
const price13b = { input_nanousd_per_token: 250n, output_nanousd_per_token: 750n }
const priceMini = { input_nanousd_per_token: 20n, output_nanousd_per_token: 60n }

const rows: CatalogModel[] = [
  row('ziya-coding-mini', 'ziya-coding', 1024, '2026-11-23', 'ziya-code-api', { price: priceMini }),
  row('Ziya-Coding-34B-v1.0', 'ziya-coding', 16_384, '2023-09-12', 'IDEA-CCNL'),
  row('Ziya-LLaMA-13B-v1', 'ziya-llama', 2048, '2023-05-16', 'IDEA-CCNL', {
    price: price13b,
    max_tokens_default: 1024,
  }),
  row('Ziya-LLaMA-13B-v1.1', 'ziya-llama', 2048, '2023-06-07', 'IDEA-CCNL', {
    price: price13b,
    max_tokens_default: 1024,
  }),
  row('CodeLlama-34b', 'plain', 16_384, '2023-08-24', 'meta', { sampling: neutralSampling }),
  // The card of Phind-CodeLlama-34B-v2: top_p 0.75, top_k 40, temperature 0.1.
  row('Phind-CodeLlama-34B-v2', 'phind', 16_384, '2023-08-28', 'phind', {
    sampling: { ...card, temperature: 0.1, top_p: 0.75, top_k: 40 },
  }),
  row('WizardCoder-Python-34B-V1.0', 'wizardcoder', 16_384, '2023-08-26', 'WizardLM', { sampling: neutralSampling }),
]

/** The catalog, with the one model that a local folder adds where there is one. Of a row it has, the folder sets the context alone. */
export function catalogWith(local: LocalModel | null): ReadonlyMap<string, CatalogModel> {
  return new Map([...rows, ...(local ? [localRow(local)] : [])].map((model) => [model.id, model]))
}

function localRow({ id, template, context }: LocalModel): CatalogModel {
  const listed = rows.find((model) => model.id === id)
  if (listed) return { ...listed, context_tokens: context }
  return row(id, template, context, '2026-11-23', 'local', { price: priceMini })
}

export interface LocalModel {
  id: string
  template: TemplateName
  context: number
}

function row(
  id: string,
  template: TemplateName,
  context_tokens: number,
  created: string,
  owned_by: string,
  own: Partial<CatalogModel> = {},
): CatalogModel {
  const created_unix_s = Date.parse(created) / 1000
  const shared = { sampling: card, max_tokens_default: 512, price: price34b }
  return { id, template, context_tokens, created_unix_s, owned_by, ...shared, ...own }
}
