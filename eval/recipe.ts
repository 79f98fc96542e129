// How a model is asked and what of its answer is code: prompt, sampling and post-processing of each model as its makers published
// them. docs/eval.md has the sources.

import type { Language } from '../sandbox/sandbox.ts'
import type { Problem } from './problem.ts'

export interface Sampling {
  temperature: number
  top_p?: number
  top_k?: number
  max_tokens: number
  stop?: string[]
}

export interface Recipe {
  name: string
  endpoint: 'completions' | 'chat'
  /** The models it is for. */
  models: RegExp
  sampling: Sampling
  /** The prompt, or the user's message. */
  ask: (problem: Problem) => string
  /** The completion to append to the problem's prompt. */
  completion: (text: string, problem: Problem) => string
}

const card_question = 'Please Complete the given function below according to the docstring: \n'
const asked = ({ question, prompt }: Problem) => question ?? card_question + prompt

export const recipes: Recipe[] = [
  {
    // IDEA-CCNL/Ziya-Coding, README and human_eval_inference.py, byte for byte: with spaces before the line ends.
    name: 'ziya',
    endpoint: 'completions',
    models: /^(IDEA-CCNL\/)?Ziya-Coding-(34B|15B)/i,
    sampling: { temperature: 0, top_p: 1, max_tokens: 2048, stop: ['</s>'] },
    ask: (problem) => `<human>: \n${asked(problem)}\n<bot>: \n`,
    completion: (text) => text,
  },
  {
    // nlpxucan/WizardLM, WizardCoder/src/humaneval_gen_vllm.py and process_humaneval.py.
    name: 'wizardcoder',
    endpoint: 'completions',
    models: /WizardCoder/i,
    sampling: { temperature: 0, max_tokens: 2048, stop: ['</s>'] },
    ask: ({ question, prompt, language }) => {
      const tabbed = (question ?? prompt).replaceAll('    ', '\t')
      return `Below is an instruction that describes a task. Write a response that appropriately completes the request.\n\n\n### Instruction:\nCreate a ${titles[language]} script for this problem:\n${tabbed}\n\n### Response:`
    },
    completion: (text, problem) => wholeProgram(wizardCode(text), problem),
  },
  {
    // codefuse-ai/codefuse-evaluation, codefuseEval/processor.
    name: 'codefuse',
    endpoint: 'completions',
    models: /CodeFuse/i,
    sampling: { temperature: 0, max_tokens: 512, stop: ['</s>'] },
    ask: ({ question, prompt, language }) =>
      `<|role_start|>human<|role_end|># language: ${titles[language]}\n${question ?? prompt}<|role_start|>bot<|role_end|>`,
    completion: (text) => text,
  },
  {
    // The card of Phind-CodeLlama-34B-v2: the bare prompt, although the model chats.
    name: 'phind',
    endpoint: 'completions',
    models: /Phind/i,
    sampling: { temperature: 0.1, top_p: 0.75, top_k: 40, max_tokens: 384 },
    ask: ({ prompt }) => prompt,
    completion: (text, { prompt }) => text.replace(prompt, '').split('\n\n\n')[0]!,
  },
  {
    // Base models continue; the suite says where a continuation ends.
    name: 'plain',
    endpoint: 'completions',
    models: /CodeLlama|StarCoder|base|code-?gen|deepseek-coder-\d+\.?\d*b-base/i,
    sampling: { temperature: 0, max_tokens: 512 },
    ask: ({ prompt }) => prompt,
    completion: (text, { stops }) => cutAt(text, stops),
  },
  {
    // Everybody else answers a question; the code is in a fence, whole or as a body.
    name: 'chat',
    endpoint: 'chat',
    models: /./,
    sampling: { temperature: 0, max_tokens: 512 },
    ask: asked,
    completion: (text, problem) => wholeProgram(codeIn(text), problem),
  },
]

const titles: Record<Language, string> = {
  python: 'Python',
  javascript: 'JavaScript',
  typescript: 'TypeScript',
  cpp: 'C++',
  java: 'Java',
  go: 'Go',
  rust: 'Rust',
  shell: 'Bash',
}

export function recipeFor(model: string, name: string | undefined): Recipe {
  const recipe = recipes.find((one) => (name === undefined ? one.models.test(model) : one.name === name))
  if (!recipe) throw new Error(`--recipe ${name}: there are ${recipes.map((one) => one.name).join(', ')}`)
  return recipe
}

/** What to append to the problem's prompt. Outside Python the tests close what the prompt opened, so that a completion ends before. */
export function completionOf(recipe: Recipe, answer: string, problem: Problem): string {
  if (problem.language === 'python') return recipe.completion(answer, problem)
  return cutAt(afterSignature(codeIn(answer), problem.prompt), problem.stops)
}

/** The body, where an answer repeats the declaration that the prompt ends with. */
function afterSignature(code: string, prompt: string): string {
  const signature = prompt.trimEnd().split('\n').at(-1)!.trim()
  const place = code.indexOf(signature)
  return place < 0 ? code : code.slice(place + signature.length)
}

/** The code in an answer: its first fence, closed or not; without a fence, all of it. */
export function codeIn(answer: string): string {
  return /```[\w+#.-]*[ \t]*\r?\n([\s\S]*?)(?:\n[ \t]*```|$)/.exec(answer)?.[1] ?? answer
}

/**
 * Code that repeats what the prompt declares replaces it; a body continues it. In Python the prompt's function gets a body first, so
 * that prompt and completion are one program, as the official harness runs them.
 */
function wholeProgram(code: string, { question, entry_point }: Problem): string {
  if (question !== null) return code
  return entry_point !== null && new RegExp(`\\bdef\\s+${entry_point}\\s*\\(`).test(code) ? `    pass\n\n${code}` : code
}

function wizardCode(text: string): string {
  const fence = text.replaceAll('\r', '').split('```python')
  const code = fence.length > 1 ? fence[1]!.split('```')[0]!.trim() : fence[0]!
  return cutAt(code, ['if __name__ == "__main__":', '# Example usage']).replaceAll('\t', '    ')
}

function cutAt(text: string, stops: string[]): string {
  const places = stops.map((stop) => text.indexOf(stop)).filter((place) => place >= 0)
  return text.slice(0, Math.min(text.length, ...places))
}
