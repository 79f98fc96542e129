import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { lockFolder } from '../../../gpu-node/meter/lock.ts'
import { temporaryFolder } from '../../support/fake-node.ts'

const module_path = join(import.meta.dirname, '../../../gpu-node/meter/lock.ts')
const program = (folder: string) => `
  import { lockFolder } from ${JSON.stringify(module_path)}
  try {
    await lockFolder(${JSON.stringify(folder)})
    console.log('locked')
    setInterval(() => {}, 1000)
  } catch (error) {
    console.log(error.message)
  }`

/** Tries to lock a folder in a process of its own, and stays while it has it. */
async function lockElsewhere(folder: string, around: string[] = []) {
  const [command, ...args] = [...around, process.execPath, '--input-type=module-typescript', '--eval', program(folder)]
  const child = spawn(command!, args, { stdio: ['ignore', 'pipe', 'inherit'] })
  onTestFinished(() => void child.kill('SIGKILL'))
  const [said] = (await once(child.stdout!, 'data')) as [Buffer]
  return { child, said: said.toString().trim() }
}

test('a folder is one process’, also within it, until it is closed', async () => {
  const folder = temporaryFolder()
  const lock = await lockFolder(folder)
  await expect(lockFolder(folder)).rejects.toThrow(`another node is using ${folder}`)
  expect((await lockElsewhere(folder)).said).toBe(`another node is using ${folder}`)
  lock.close()
  expect((await lockElsewhere(folder)).said).toBe('locked')
})

test('a folder is free when its process dies, however it dies', async () => {
  const folder = temporaryFolder()
  const { child, said } = await lockElsewhere(folder)
  expect(said).toBe('locked')
  child.kill('SIGKILL')
  await once(child, 'close')
  expect((await lockElsewhere(folder)).said).toBe('locked')
})

// What a container has of its own. Making one needs rights that not every machine gives.
const namespaces = ['--net', '--ipc', '--mount', '--pid', '--fork', '--kill-child']
const may_unshare = spawnSync('unshare', [...namespaces, 'true']).status === 0

test.skipIf(!may_unshare)('a process in other namespaces is refused the folder, too', async () => {
  const folder = temporaryFolder()
  const lock = await lockFolder(folder)
  expect((await lockElsewhere(folder, ['unshare', ...namespaces])).said).toBe(`another node is using ${folder}`)
  lock.close()
  expect((await lockElsewhere(folder, ['unshare', ...namespaces])).said).toBe('locked')
})
