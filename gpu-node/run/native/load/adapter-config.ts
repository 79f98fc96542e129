// adapter_config.json of a PEFT folder: which of a model's matrices a LoRA adapter changes, and by what rank and scale. The rules are those
// of PEFT 0.21 (peft/tuners/tuners_utils.py, check_target_module_exists; peft/utils/other.py, get_pattern_key). A key that changes numbers
// is applied or refused, as everywhere: also one that a later PEFT may bring.

import { createContext, Script } from 'node:vm'
import * as z from 'zod'
import { parsed } from '../architecture/architecture.ts'
import { ADAPTER_RANK_MAX } from '../architecture/bounds.ts'
import { ModelError } from '../model-error.ts'

const FILE = 'adapter_config.json'
const rank = z.int().positive().max(ADAPTER_RANK_MAX)
const oneOrMore = z.union([z.string(), z.array(z.string())])

const configSchema = z.looseObject({
  peft_type: z.string(),
  task_type: z.string().nullish(),
  r: rank,
  lora_alpha: z.number(),
  use_rslora: z.boolean().nullish(),
  target_modules: oneOrMore,
  exclude_modules: oneOrMore.nullish(),
  layers_to_transform: z.union([z.int(), z.array(z.int())]).nullish(),
  layers_pattern: oneOrMore.nullish(),
  rank_pattern: z.record(z.string(), rank).nullish(),
  alpha_pattern: z.record(z.string(), z.number()).nullish(),
})

type Config = z.infer<typeof configSchema>

/** What a config may say that makes no difference to what is computed: how it was trained, and with what. */
const HARMLESS: readonly string[] = [
  'auto_mapping',
  'base_model_name_or_path',
  'corda_config',
  'ensure_weight_tying',
  'eva_config',
  'fan_in_fan_out', // of the base's weights alone, which are not the folder's
  'inference_mode',
  'loftq_config',
  'lora_dropout',
  'lora_ga_config',
  'megatron_core',
  'peft_version',
  'qalora_group_size',
  'revision',
  'runtime_config',
]

/** What it may say beside nothing of what would change the numbers. Other beginnings than these change the base's weights, too. */
const NEUTRAL: Record<string, readonly unknown[]> = {
  peft_type: ['LORA'],
  task_type: ['CAUSAL_LM'],
  bias: ['none'],
  init_lora_weights: [true, 'gaussian', 'eva', 'orthogonal'],
}

/** A matrix of the model, by its name there, and how the adapter changes it. */
export interface AdaptedModule {
  name: string
  rank: number
  scale: number
}

/** Of the model's modules, `matrices` can be adapted, and `others` cannot. */
export function adapterConfig(
  json: unknown,
  { matrices, others }: { matrices: readonly string[]; others: readonly string[] },
): AdaptedModule[] {
  const config = parsed(configSchema, json, 'adapter_config_invalid', FILE)
  refuseOthers(config)
  const is_wanted = targetOf(config)
  const stray = config.target_modules === ALL ? undefined : others.find(is_wanted)
  if (stray !== undefined) throw unsupported(`target_modules has ${stray}, which is no matrix of a layer`)
  const modules = matrices.filter(is_wanted)
  if (modules.length === 0) throw unsupported('target_modules has no module of this model')
  return modules.map((name) => sized(name, config))
}

function refuseOthers(config: Config): void {
  for (const [key, value] of Object.entries(config)) {
    if (key in configSchema.shape && !(key in NEUTRAL)) continue
    if (HARMLESS.includes(key) || isNothing(value) || NEUTRAL[key]?.includes(value)) continue
    throw unsupported(`${key} is ${JSON.stringify(value).slice(0, 80)}, which is not computed here`)
  }
}

function isNothing(value: unknown): boolean {
  return value === null || value === false || (typeof value === 'object' && Object.keys(value).length === 0)
}

function sized(name: string, config: Config): AdaptedModule {
  const own_rank = byPattern('rank_pattern', config.rank_pattern, name) ?? config.r
  const alpha = byPattern('alpha_pattern', config.alpha_pattern, name) ?? config.lora_alpha
  return { name, rank: own_rank, scale: alpha / (config.use_rslora ? Math.sqrt(own_rank) : own_rank) }
}

/** The value of the first pattern that a name, or what stands behind one of its dots, is of. */
function byPattern(key: string, patterns: Record<string, number> | null | undefined, name: string): number | undefined {
  return Object.entries(patterns ?? {}).find(([pattern]) => matches(key, `(.*\\.)?(${pattern})`, name))?.[1]
}

// ── which modules

function targetOf(config: Config): (name: string) => boolean {
  const { target_modules, exclude_modules, layers_to_transform } = config
  const layers = layers_to_transform == null ? [] : [layers_to_transform].flat()
  if (typeof target_modules === 'string' && layers.length > 0)
    throw unsupported('layers_to_transform stands beside target_modules that are a pattern')
  return (name) =>
    !(exclude_modules && isNamed('exclude_modules', exclude_modules, name)) &&
    isTarget(target_modules, name) &&
    (layers.length === 0 || layers.includes(layerOf(config, name)))
}

/** Instead of names: all matrices but the embedding and the head. */
const ALL = 'all-linear'

function isTarget(target_modules: Config['target_modules'], name: string): boolean {
  return target_modules === ALL || isNamed('target_modules', target_modules, name)
}

/** A text is a pattern of whole names; a list has names, or what stands behind a dot of them. */
function isNamed(key: string, wanted: string | readonly string[], name: string): boolean {
  if (typeof wanted === 'string') return matches(key, wanted, name)
  return wanted.some((one) => name === one || name.endsWith(`.${one}`))
}

function layerOf({ layers_pattern }: Config, name: string): number {
  const patterns = [layers_pattern ?? []].flat().filter((pattern) => pattern !== '')
  if (patterns.length > 0 && !patterns.every((pattern) => /^\w+$/.test(pattern)))
    throw unsupported('layers_pattern is more than a name')
  const before = patterns.length > 0 ? patterns.join('|') : '[^.]*'
  return Number(new RegExp(`^.*?\\.(?:${before})\\.(\\d+)\\.`).exec(name)?.[1] ?? Number.NaN)
}

const MATCH_MS_MAX = 1000 // some patterns take for ever
const matching = new Script('whole.test(name)')
const asked = createContext({ whole: /./, name: '' })

/** Python's re.fullmatch, of what both languages understand alike: the rest is refused. */
function matches(key: string, pattern: string, name: string): boolean {
  try {
    Object.assign(asked, { whole: new RegExp(`^(?:${pattern})$`, 'u'), name })
    return matching.runInContext(asked, { timeout: MATCH_MS_MAX }) as boolean
  } catch {
    throw unsupported(`${key} has ${JSON.stringify(pattern).slice(0, 80)}, which is no pattern that is understood here`)
  }
}

function unsupported(what: string): ModelError {
  return new ModelError('adapter_unsupported', `${FILE}: ${what}`)
}
