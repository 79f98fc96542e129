-- Chats that are stored as responses are: found by their model and by what their callers gave them as metadata, and listed.

alter table stored_responses
  add column kind text not null default 'response' check (kind in ('response', 'chat')),
  add column model text, -- of a chat
  add column metadata jsonb; -- of a chat
create index stored_chats on stored_responses (account_id, created_at, request_id) where kind = 'chat';
