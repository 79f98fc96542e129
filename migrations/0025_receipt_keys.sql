-- The public keys that receipts were ever signed with, so that a receipt can be verified after its key was replaced.

create table receipt_keys (
  kid text primary key,
  x text not null, -- base64url, 32 bytes (RFC 8037)
  first_noted_at timestamptz not null default clock_timestamp(),
  last_noted_at timestamptz not null default clock_timestamp()
);
