// Every answer that was paid for, by the key of its question, and every verdict, in a file that only grows: a run that ended too early, however it ended,
// asks for what is missing and comes to the same result.

import { appendFileSync, existsSync, readFileSync, truncateSync } from 'node:fs'

export interface Question {
  key: string
  text: string
}

export class Answers {
  readonly #file: string
  readonly #known = new Map<string, string>()

  constructor(file: string) {
    this.#file = file
    if (!existsSync(file)) return
    const bytes = readFileSync(file)
    const whole = bytes.lastIndexOf(0x0a) + 1 // a line that a kill cut short is asked for again
    if (whole < bytes.length) truncateSync(file, whole)
    for (const line of bytes.subarray(0, whole).toString('utf8').split('\n').filter(Boolean)) {
      const { key, answer } = JSON.parse(line) as { key: string; answer: string }
      this.#known.set(key, answer)
    }
  }

  get(key: string): string | undefined {
    return this.#known.get(key)
  }

  missing(questions: Question[]): Question[] {
    return questions.filter(({ key }) => !this.#known.has(key))
  }

  keep(key: string, answer: string): void {
    this.#known.set(key, answer)
    appendFileSync(this.#file, `${JSON.stringify({ key, answer })}\n`)
  }
}
