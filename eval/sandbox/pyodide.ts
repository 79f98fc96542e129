import type { Sandbox } from './sandbox.ts'
export function pyodideSandbox(): Sandbox { throw new Error('x') }
