// What a model is asked, in our own words: to make a task harder in one way, to solve it, and to test a solution.

export const WAYS = [
  'Add one requirement that the solution has to meet, such as a limit, an order, or an input that must be refused.',
  'Replace a general demand by a concrete one, so that there is less choice in how it is met.',
  'Make it need one more step of thought: a second result, or a case that the simple way gets wrong.',
  'Ask for the same with other data: a deeper structure, larger sizes, or text that is not plain ASCII.',
  'Ask for a lower cost in time or memory than the obvious solution has, and say which.',
] as const

export const evolving = (task: string, way: string) =>
  `Below is a programming task. Rewrite it as one harder task. ${way} Keep it solvable in one Python function, add at most two ` +
  `sentences, and answer with the new task alone.\n\nTask:\n${task}`

export const solving = (task: string) => `${task}\n\nWrite it in Python, in one code block.`

export const testing = (task: string, code: string) =>
  'Below are a programming task and a solution. Write three to six `assert` statements that a right solution passes, with values that ' +
  `follow from the task and not from the solution. Answer with the statements alone, in one code block.\n\nTask:\n${task}\n\n` +
  `Solution:\n\`\`\`python\n${code}\n\`\`\``
