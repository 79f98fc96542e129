export type SslMode = 'disable' | 'prefer' | 'require' | 'verify-ca' | 'verify-full'

export interface Database {
  /** With a user, a port and a name, and without what says how to connect. */
  url: string
  /** An IPv6 address is without its brackets. */
  host: string
  port: number
  sslmode: SslMode
  /** The CAs that the server's certificate is checked by; null: those that Node knows. */
  ca_file: string | null
}

export const SSL_MODES: readonly SslMode[]

/** Throws one line where the URL cannot be used. */
export function readDatabaseUrl(text: string): Database
