// Where the bytes of files lie: what the gateway uses of a bucket. Deployed it is R2's binding; on a machine of one's own
// local/bucket.ts binds a folder or an S3-compatible service in the same form.

export interface Bucket {
  put(key: string, bytes: Uint8Array): Promise<unknown>
  get(key: string): Promise<{ arrayBuffer(): Promise<ArrayBuffer> } | null>
  /** Those that are not there are gone already. */
  delete(keys: string[]): Promise<unknown>
}
