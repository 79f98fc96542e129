import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { byName } from '../../gateway/catalog/catalog.ts'
import { CATALOG, readCatalog } from '../../local/catalog.ts'
import { readModel } from '../../local/model.ts'

const folder = mkdtempSync(join(tmpdir(), 'ziya-model-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

function modelFolder(id: string, max_position_embeddings: number): string {
  const dir = join(folder, id)
  mkdirSync(dir, { recursive: true })
  writeFileSync(join(dir, 'config.json'), JSON.stringify({ max_position_embeddings }))
  return dir
}

test('a folder with the name of a catalog row takes the row as it is, where its context is as long', () => {
  expect(readModel(modelFolder('Phind-CodeLlama-34B-v2', 16_384), null)).toEqual({
    id: 'Phind-CodeLlama-34B-v2',
    local_model: null,
    explanation: 'template phind, as the catalog says',
  })
})

test('of a shorter context the row keeps its price, template and sampling', () => {
  const { local_model } = readModel(modelFolder('Phind-CodeLlama-34B-v2', 4096), null)
  const rows = readCatalog(CATALOG)
  const listed = byName(rows, null).get('Phind-CodeLlama-34B-v2')!
  expect(byName(rows, local_model).get('Phind-CodeLlama-34B-v2')).toEqual({ ...listed, context_tokens: 4096 })
})

test('any other folder says which template was guessed and why, and --template chooses', () => {
  const dir = modelFolder('my-model', 2048)
  expect(readModel(dir, null)).toMatchObject({
    local_model: { id: 'my-model', template: 'plain', context: 2048 },
    explanation: 'template plain, because my-model is not in the catalog; --template chooses another',
  })
  expect(readModel(dir, 'phind').local_model).toMatchObject({ template: 'phind' })
  expect(readModel(modelFolder('Ziya-Coding-15B', 2048), null).local_model).toMatchObject({ template: 'ziya-coding' })
  expect(readModel(modelFolder('WizardCoder-15B', 2048), null).local_model).toMatchObject({ template: 'wizardcoder' })
})

test('the context of GPTBigCode has a name of its own', () => {
  const dir = modelFolder('starcoder', 0)
  writeFileSync(join(dir, 'config.json'), JSON.stringify({ model_type: 'gpt_bigcode', n_positions: 8192 }))
  expect(readModel(dir, null).local_model).toMatchObject({ template: 'plain', context: 8192 })
})

test('a folder that writes chats itself is taken at its word, where its name says nothing', () => {
  const dir = modelFolder('chatty', 2048)
  writeFileSync(join(dir, 'tokenizer_config.json'), JSON.stringify({ chat_template: '{{ messages[0].content }}' }))
  expect(readModel(dir, null)).toMatchObject({ local_model: { template: 'folder' } })
  expect(readModel(dir, 'plain').local_model).toMatchObject({ template: 'plain' })
})

test('a template that is none, or not the catalog’s, is refused by name', () => {
  expect(() => readModel(modelFolder('my-model', 2048), 'chatml')).toThrow(/--template chatml is not one of .*plain/)
  expect(() => readModel(modelFolder('CodeLlama-34b', 16_384), 'phind')).toThrow(
    /the catalog serves CodeLlama-34b with/,
  )
})

test('of a row without a format the folder has it, or who starts it', () => {
  const dir = modelFolder('Ziya-Coding-15B-v1', 8192)
  expect(readModel(dir, null).local_model).toEqual({ id: 'Ziya-Coding-15B-v1', template: 'folder', context: 8192 })
  const { local_model } = readModel(dir, 'plain')
  const named = byName(readCatalog(CATALOG), local_model).get('Ziya-Coding-15B-v1')
  expect(named).toMatchObject({ template: 'plain', licence: 'GPL-3.0' })
})
