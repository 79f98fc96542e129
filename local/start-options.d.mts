export interface StartOptions {
  port: number
  model_dir: string
  template: string | null
  rope_theta: number | null
  database_url: string | null
  data_dir: string
  once: boolean
}

export const usage: string

export function readStartOptions(
  args: string[],
): { options: StartOptions; answer?: never } | { options?: never; answer: string; exit_code: number }
