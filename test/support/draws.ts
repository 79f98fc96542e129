// How many cases a random test draws. By default few of each kind, so that `npm test` stays short; `npm run test:all` draws all of
// them, and the variable of that name as many as it says.

export function draws(name: string, { few, all }: { few: number; all: number }): number {
  return Number(process.env[name] ?? (process.env.DRAWS === 'all' ? all : few))
}
