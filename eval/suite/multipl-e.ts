// MultiPL-E: HumanEval and MBPP in other languages, one file a language, as its authors publish their prompts.

import type { Language } from '../../sandbox/sandbox.ts'
import type { Problem } from '../problem.ts'
import { text, texts } from './field.ts'
import type { Line } from './suite.ts'

const languages: Record<string, Language> = {
  py: 'python',
  python: 'python',
  js: 'javascript',
  javascript: 'javascript',
  ts: 'typescript',
  typescript: 'typescript',
  cpp: 'cpp',
  java: 'java',
  go: 'go',
  'go_test.go': 'go',
  rs: 'rust',
  rust: 'rust',
  sh: 'shell',
  bash: 'shell',
}

export function multiplE(line: Line): Problem {
  const prompt = text(line, 'prompt')
  const tests = text(line, 'tests')
  const named = text(line, 'language')
  const language = languages[named]
  if (!language) throw new Error(`language ${named} has no sandbox here`)
  return {
    id: text(line, 'name'),
    language,
    prompt,
    question: null,
    entry_point: null,
    stops: texts(line, 'stop_tokens'),
    canonical: null,
    task: (completion) => ({
      language,
      candidate: prompt + completion,
      context: language === 'python' ? `${prompt}    pass\n` : prompt,
      tests,
    }),
  }
}
