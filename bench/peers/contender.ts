// An engine that is measured, in a process of its own: the bench asks by message, one question at a time.

import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'

export interface Contender {
  /** Tokens a second of a prompt of so many tokens; nothing of it is cached. */
  prefill(tokens: number): Promise<number>
  /** Tokens a second of so many sequences together, timed from the moment each has its first token. */
  decode(sequences: number, tokens: number): Promise<number>
  /** What follows the prompt, greedily, past any end of sequence, and the log-probability of each. */
  greedy(prompt: number[], tokens: number): Promise<{ token: number; logprob: number }[]>
}

export const PROMPT_TOKENS = 16

/** Prompts that share no beginning: `salt` differs between all that are asked in one process. */
export function promptOf(tokens: number, salt: number): number[] {
  return Array.from({ length: tokens }, (_, i) => 300 + ((i * 7919 + salt * 104_729) % 31_000))
}

type Question = { [Name in keyof Contender]: { name: Name; args: Parameters<Contender[Name]> } }[keyof Contender]

/** In the process that is measured: answers until the bench is gone. */
export function serveContender(contender: Contender): void {
  process.on('message', ({ name, args }: Question) => {
    const answer = contender[name] as (...args: unknown[]) => Promise<unknown>
    answer(...args).then((result) => process.send!(result))
  })
  process.on('disconnect', () => process.exit(0))
  process.send!('ready')
}

/** Starts such a process, and resolves when its model is loaded. */
export async function startContender(file: string, args: string[]): Promise<Contender & { close(): void }> {
  const child = fork(file, args, { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] })
  await answerOf(child)
  const ask =
    (name: keyof Contender) =>
    (...args: unknown[]) => {
      child.send({ name, args })
      return answerOf(child)
    }
  return {
    prefill: ask('prefill') as Contender['prefill'],
    decode: ask('decode') as Contender['decode'],
    greedy: ask('greedy') as Contender['greedy'],
    close: () => child.disconnect(),
  }
}

async function answerOf(child: ChildProcess): Promise<unknown> {
  const controller = new AbortController()
  const gone = once(child, 'exit', controller).then(() => {
    throw new Error(`${child.spawnargs.join(' ')} ended`)
  })
  const [answer] = await Promise.race([once(child, 'message', controller), gone])
  gone.catch(() => {}) // rejects when it is no longer listened for
  controller.abort()
  return answer
}
