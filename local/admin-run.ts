// A command of the operators' command line. Speaks to the gateway's admin API alone, so it can do what the API can and no more.
// Every command is a row of the table in admin-commands.ts; this file finds the row, reads its options and prints the answer.

import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { type Command, commands, type Options } from './admin-commands.ts'
import { table } from './admin-table.ts'

const root = join(import.meta.dirname, '..')

// 0: done. 1: the gateway refused, or what was asked about is not as it should be. 2: the command is not one. 3: no gateway.
class Failure extends Error {
  readonly exit_code: 1 | 2 | 3
  readonly detail: object

  constructor(exit_code: 1 | 2 | 3, message: string, detail: object = {}) {
    super(message)
    this.exit_code = exit_code
    this.detail = detail
  }
}

const shared = {
  json: { type: 'boolean', description: 'the answer as JSON' },
  url: { type: 'string', value: 'URL', description: 'the gateway ($GATEWAY_URL, or that of .local/ready.json)' },
  'admin-key': {
    type: 'string',
    value: 'KEY',
    description: 'its operator key ($ADMIN_KEY, or that of .local/ready.json)',
  },
  help: { type: 'boolean', description: 'this' },
} satisfies Options

/** Where it was typed. */
export interface Terminal {
  env: NodeJS.ProcessEnv
  print: (text: string) => void
  complain: (text: string) => void
}

/** Returns the exit code. */
export async function run(args: string[], terminal: Terminal): Promise<number> {
  const as_json = args.includes('--json')
  try {
    return await runCommand(args, terminal)
  } catch (error) {
    if (!(error instanceof Failure)) throw error
    if (as_json) terminal.print(JSON.stringify({ error: { message: error.message, ...error.detail } }))
    else terminal.complain(`✗ ${error.message}`)
    return error.exit_code
  }
}

async function runCommand(args: string[], { env, print }: Terminal): Promise<number> {
  const command = commands.find(({ words }) => words.every((word, i) => args[i] === word))
  if (!command) {
    print(overview(args))
    return 0
  }
  const { values, positionals } = parse(command, args.slice(command.words.length))
  if (values.help) {
    print(helpOf(command))
    return 0
  }
  const call = callOf(command, values, positionals)
  const asked = await ask(access(values, env), call)
  const answer = command.finish ? await finished(command, asked, positionals) : asked
  if (values.json) print(JSON.stringify(answer, null, 2))
  else print(typeof answer === 'string' ? answer.trimEnd() : table(answer, command.columns))
  return command.isBad?.(answer as never) ? 1 : 0
}

type Values = Record<string, string | boolean | undefined>

/** With each value that begins with a dash, as one key in sixty-four does, in the word of its option: alone it looks like another. */
function withDashed(args: string[], options: Options): string[] {
  const optionOf = (word = '') => (word.startsWith('--') ? options[word.slice(2).split('=')[0]!] : undefined)
  const words: string[] = []
  for (let at = 0; at < args.length; at += 1) {
    const [word, next] = [args[at]!, args[at + 1]]
    const takes_next =
      optionOf(word)?.type === 'string' && !word.includes('=') && next?.startsWith('-') && !optionOf(next)
    words.push(takes_next ? `${word}=${next}` : word)
    if (takes_next) at += 1
  }
  return words
}

function parse(command: Command, args: string[]): { values: Values; positionals: string[] } {
  const options: Options = { ...command.options, ...shared }
  try {
    const { values, positionals } = parseArgs({
      args: withDashed(args, options),
      options: options as never,
      allowPositionals: true,
      allowNegative: false,
    })
    return { values: values as Values, positionals }
  } catch (error) {
    throw new Failure(2, `${(error as Error).message.split('\n')[0]}\n\n${helpOf(command)}`)
  }
}

function callOf(command: Command, values: Values, positionals: string[]) {
  const wanted = command.positionals ?? []
  if (positionals.length !== wanted.length)
    throw new Failure(
      2,
      `${command.words.join(' ')} takes ${wanted.map((name) => `<${name}>`).join(' ') || 'no arguments'}\n\n${helpOf(command)}`,
    )
  for (const [name, option] of Object.entries(command.options ?? {}))
    if (option.required && values[name] === undefined)
      throw new Failure(2, `--${name} is missing\n\n${helpOf(command)}`)
  try {
    return command.call(values as never, positionals as never)
  } catch (error) {
    throw new Failure(2, (error as Error).message)
  }
}

async function finished(command: Command, answer: object | string, positionals: string[]): Promise<object> {
  try {
    return await command.finish!(answer as never, positionals)
  } catch (error) {
    throw new Failure(2, (error as Error).message)
  }
}

interface Access {
  url: string
  admin_key: string
}

function access(values: Values, env: NodeJS.ProcessEnv): Access {
  const ready = readyFile()
  const url = (values.url as string) ?? env.GATEWAY_URL ?? ready?.gateway_url
  const admin_key = (values['admin-key'] as string) ?? env.ADMIN_KEY ?? ready?.admin_key
  if (!url || !admin_key)
    throw new Failure(
      3,
      'no gateway is known: is `npm start` running? Else give --url and --admin-key, or $GATEWAY_URL and $ADMIN_KEY',
    )
  return { url: url.replace(/\/$/, ''), admin_key }
}

function readyFile(): { gateway_url: string; admin_key: string } | null {
  try {
    return JSON.parse(readFileSync(join(root, '.local', 'ready.json'), 'utf8'))
  } catch {
    return null
  }
}

type Call = ReturnType<Command['call']>

async function ask({ url, admin_key }: Access, { method, path, query, body, accept }: Call): Promise<object | string> {
  const search = new URLSearchParams(
    Object.entries(query ?? {}).filter((pair): pair is [string, string] => pair[1] !== undefined),
  )
  const headers: Record<string, string> = { authorization: `Bearer ${admin_key}` }
  if (accept) headers.accept = accept
  if (body) headers['content-type'] = 'application/json'
  const target = `${url}${path}${search.size > 0 ? `?${search}` : ''}`
  const response = await fetch(target, { method, headers, ...(body && { body: JSON.stringify(body) }) }).catch(
    (error) => {
      throw new Failure(3, `the gateway at ${url} does not answer (${error.cause?.code ?? error.message})`)
    },
  )
  const text = await response.text()
  if (!response.ok) throw refused(response, text, body)
  return response.headers.get('content-type')?.startsWith('application/json') ? JSON.parse(text) : text
}

function refused(response: Response, text: string, body: object | undefined): Failure {
  const error = response.headers.has('x-request-id') ? errorOf(text) : null
  if (!error) return new Failure(3, `what answers there is no gateway of ours (${response.status})`)
  const where = error.param && body && error.param in body ? ` (${error.param})` : ''
  const message = error.code === 'invalid_api_key' ? 'the gateway does not know this operator key' : error.message
  return new Failure(1, `${message}${where}`, {
    code: error.code,
    param: error.param,
    request_id: response.headers.get('x-request-id'),
  })
}

function errorOf(text: string): { message: string; code: string; param: string | null } | null {
  try {
    return JSON.parse(text).error ?? null
  } catch {
    return null
  }
}

function overview(args: string[]): string {
  const [first, ...rest] = args.filter((arg) => !arg.startsWith('-'))
  const own = commands.filter(({ words }) => words[0] === first)
  const lines = (own.length > 0 ? own : commands).map((command) => [usage(command), command.description] as const)
  const width = Math.max(...lines.map(([left]) => left.length))
  const text = [
    'npm run admin -- <command> [--json] [--help]',
    '',
    ...lines.map(([l, r]) => `  ${l.padEnd(width)}  ${r}`),
  ].join('\n')
  if (first === undefined || (own.length > 0 && rest.length === 0 && args.includes('--help'))) return text
  throw new Failure(2, `there is no command '${[first, ...rest].join(' ')}'\n\n${text}`)
}

function usage({ words, positionals = [] }: Command): string {
  return [...words, ...positionals.map((name) => `<${name}>`)].join(' ')
}

function helpOf(command: Command): string {
  const options = Object.entries({ ...command.options, ...shared } as Options).map(([name, option]) => {
    const flag = `--${name}${option.type === 'string' ? ` ${option.value ?? 'TEXT'}` : ''}`
    return [flag, `${option.description}${option.required ? ' (needed)' : ''}`] as const
  })
  const width = Math.max(...options.map(([flag]) => flag.length))
  return [
    `npm run admin -- ${usage(command)} [options]`,
    `  ${command.description}`,
    '',
    ...options.map(([flag, description]) => `  ${flag.padEnd(width)}  ${description}`),
  ].join('\n')
}
