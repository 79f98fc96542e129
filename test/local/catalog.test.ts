// The catalog of the release: what its rows say, how its file is read, and how it comes into a database and stays out of it.

import { appendFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { byName } from '../../gateway/catalog/catalog.ts'
import { chatPrompt } from '../../gateway/prompt/template.ts'
import { CATALOG, publishCatalog, publishRelease, readCatalog, watchCatalog } from '../../local/catalog.ts'
import { CATALOG_SCHEMA, catalogSchemaText } from '../../local/openapi.ts'
import { eventually } from '../support/patience.ts'
import { startTestPostgres, type TestPostgres } from '../support/postgres.ts'

const released = readCatalog(CATALOG)
const folder = mkdtempSync(join(tmpdir(), 'ziya-catalog-'))
const file = join(folder, 'catalog.json')
const by = 'the tests'

let db: TestPostgres

beforeAll(async () => {
  db = await startTestPostgres()
})
afterAll(async () => {
  rmSync(folder, { recursive: true, force: true })
  await db?.stop()
})

const write = (models: object[]) => writeFileSync(file, JSON.stringify({ models }))
const inForce = async () => (await db.ask('read_catalog', { known: null }))[0]!

test('the schema beside it is that by which it is read (`npm run openapi` writes it)', () => {
  expect(readFileSync(CATALOG_SCHEMA, 'utf8')).toBe(catalogSchemaText())
})

describe('a row', () => {
  const ALPACA =
    'Below is an instruction that describes a task. Write a response that appropriately completes the request.\n\n### Instruction:\nq\n\n### Response:'
  const begin = { special: '<s>' }
  const text = (said: string) => [begin, { text: said }]
  const ziya = text('<human>: \nq\n<bot>: \n')
  const ziya_llama = [begin, { special: '<human>' }, { text: ':q\n' }, { special: '<bot>' }, { text: ':' }]
  const of_the_folder = [{ chat: [{ role: 'user', text: 'q' }], is_continued: false }]
  // Each as its makers publish it (template_source); of those that publish none the folder has the format, or nobody.
  const prompts: Record<string, object[]> = {
    'ziya-coding-mini': ziya,
    'Ziya-Coding-34B-v1.0': ziya,
    'Ziya-Coding-15B-v1': of_the_folder,
    'Ziya-LLaMA-13B-v1': ziya_llama,
    'Ziya-LLaMA-13B-v1.1': ziya_llama,
    'Ziya-LLaMA-13B-Pretrain-v1': text('q'),
    'Ziya-Writing-LLaMa-13B-v1': of_the_folder,
    'Ziya-LLaMA-7B-Reward': of_the_folder,
    'Ziya-BLIP2-14B-Visual-v1': of_the_folder,
    'CodeFuse-CodeLlama-34B': text('<|role_start|>human<|role_end|>q<|role_start|>bot<|role_end|>'),
    'Phind-CodeLlama-34B-v2': text(
      '### System Prompt\nYou are an intelligent programming assistant.\n\n### User Message\nq\n\n### Assistant\n',
    ),
    'WizardCoder-Python-34B-V1.0': text(ALPACA),
    'CodeLlama-34b': text('q'),
    'CodeLlama-34b-Python': text('q'),
    'WizardCoder-15B-V1.0': text(ALPACA),
    'PanGu-Coder2-15B': of_the_folder,
    'StarCoder-15B': text('q'),
    'gpt-4': of_the_folder,
    'gpt-3.5-turbo': of_the_folder,
  }

  test.each(released.map((model) => [model.id, model] as const))('%s is asked as its makers say', (id, model) => {
    const chat = { turns: [{ role: 'user' as const, text: 'q' }], is_continued: false }
    expect(chatPrompt(model.template, chat)).toEqual(prompts[id])
    expect(model.template === 'folder').toBe(model.template_source === undefined)
  })

  test('of a later release that has another format is left out, and no other', () => {
    const later = [{ ...released[0]!, id: 'later', template: 'chatml' as 'plain' }, released[1]!]
    expect([...byName(later, null).keys()]).toEqual([released[1]!.id])
  })
})

describe('a file', () => {
  test.each<[string, object[] | string, string]>([
    ['with a field that is wrong', [{ ...released[1]!, context_tokens: 0 }], 'models[0].context_tokens of "Ziya-Cod'],
    ['with a field that nobody knows', [{ ...released[1]!, prise: {} }], 'models[0] of "Ziya-Coding-34B-v1.0": Unrec'],
    ['with a name twice', [released[0]!, released[0]!], 'models[1].id of "ziya-coding-mini": \'ziya-coding-mini\' is'],
    ['with a fallback that is none', [{ ...released[0]!, fallbacks: ['x'] }], 'models[0].fallbacks[0] of "ziya-coding'],
    ['without models', [], 'models: Too small'],
    ['that is cut off', '{"models": [', 'is not JSON'],
    ['of another form', '[]', 'Invalid input: expected object'],
  ])('%s is refused by name', (_, models, fault) => {
    writeFileSync(file, typeof models === 'string' ? models : JSON.stringify({ models }))
    expect(() => readCatalog(file)).toThrow(fault)
  })

  test('that is not there is named', () => {
    expect(() => readCatalog(join(folder, 'none.json'))).toThrow('none.json cannot be read (ENOENT)')
  })
})

describe('the release', () => {
  const said: string[] = []
  const release = () => publishRelease(db.url, { file, by }, (line) => said.push(line))
  const edited = [{ ...released[0]!, context_tokens: 999 }, ...released.slice(1)]

  test('is in force in a database that was just migrated', async () => {
    expect(await inForce()).toMatchObject({ source: 'release', models: released })
    expect(await db.sql`select from audit`).toHaveLength(0)
  })

  test('that was edited is published, once, and stands in the log', async () => {
    write(edited)
    await release()
    await release()
    expect(await inForce()).toMatchObject({ models: edited })
    const audit = await db.sql`select operator_name, action, before, after from audit`
    expect(audit).toHaveLength(1)
    expect(audit[0]).toMatchObject({
      operator_name: by,
      action: 'publish_catalog',
      before: { 'ziya-coding-mini': released[0] },
    })
  })

  test('with a fault is a line, and the one before stays in force', async () => {
    appendFileSync(file, 'x')
    await release()
    expect(said.splice(0)).toEqual([`  the catalog was not published: ${file} is not JSON`])
    expect(await inForce()).toMatchObject({ models: edited })
  })

  test('is published when the file is written anew', async () => {
    write(edited)
    const watch = watchCatalog(db.url, { file, by }, (line) => said.push(line))
    await eventually(async () => {
      write(released) // again, where the first came before the watch had looked
      return (await inForce()).models![0]!.context_tokens === released[0]!.context_tokens ? true : null
    })
    watch.stop()
    expect(said).toEqual([])
  })

  test('takes nothing away that an operator published, and says so', async () => {
    const own = [...released, { ...released[0]!, id: 'mine' }]
    const published = await publishCatalog(db.url, { models: own, source: 'operator', by })
    write(edited)
    await release()
    expect(said.splice(0)).toEqual([
      expect.stringContaining(`the catalog stays number ${published.version}, which an operator published`),
      `  npm run catalog -- ${file} publishes this file in its place`,
    ])
    expect(await inForce()).toMatchObject({ version: published.version, models: own })
  })
})
