// The part of the runtime's own module that the worker uses. (@cloudflare/workers-types would redefine fetch, Request and Response
// against the types of Node, which the same compilation needs.)

declare module 'cloudflare:workers' {
  export abstract class DurableObject<Env> {
    protected env: Env
    constructor(state: unknown, env: Env)
  }
}
