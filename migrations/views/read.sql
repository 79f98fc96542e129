-- What lists, reports and statements are read from, under the login of a reader: no hashes, no secrets, no bodies. A view runs with the
-- rights of its owner, so a reader needs none on the tables; but the functions a view calls are called with the reader's rights, so only
-- Postgres' own stand here. gateway/db/schema/read.ts has the same columns, which a test compares.

drop schema if exists read cascade;
create schema read;

-- Accounts, with the meter that counts what all of their keys take.
create view read.accounts as
select
  a.id, a.name, a.created_at, a.overdraft_nanousd,
  a.credited_nanousd - a.debited_nanousd as balance_nanousd,
  a.credited_nanousd::numeric + a.overdraft_nanousd - a.debited_nanousd - a.pending_nanousd as available_nanousd,
  a.requests_per_minute, a.tokens_per_minute, a.requests_in_flight_max, a.monthly_spend_cap_nanousd,
  m.requests_in_flight,
  case when m.month = date_trunc('month', clock_timestamp() at time zone 'utc')::date then m.charged_nanousd else 0 end
    as charged_this_month_nanousd,
  a.suspended_at
from accounts a join meters m on m.account_id = a.id and m.key_id = 0;

-- Keys, with the meter that counts what they take: a rotated key goes on with the meter of the one it replaced.
create view read.keys as
select
  k.id, k.account_id, k.name, k.prefix, k.last_four, k.scopes, k.models, k.tags, k.allowed_ips::text[] as allowed_ips,
  k.requests_per_minute, k.tokens_per_minute, k.requests_in_flight_max, k.monthly_spend_cap_nanousd,
  m.requests_in_flight,
  case when m.month = date_trunc('month', clock_timestamp() at time zone 'utc')::date then m.charged_nanousd else 0 end
    as charged_this_month_nanousd,
  k.created_at, m.last_used_at, k.expires_at, k.revoked_at, k.rotated_from, m.key_id as metered_as
from keys k join meters m on m.account_id = k.account_id and m.key_id = coalesce(k.metered_as, k.id);

-- The price book.
create view read.prices as
select
  model, version, account_id, input_nanousd_per_token, cached_input_nanousd_per_token, output_nanousd_per_token, valid_from, valid_until,
  service_tier
from prices;

-- The lines of the ledger. An operator's notes are not shown to customers.
create view read.entries as
select
  id, account_id, sequence, kind, amount_nanousd,
  case when kind in ('top_up', 'grant', 'refund', 'adjustment_credit') then amount_nanousd else - amount_nanousd end as effect_nanousd,
  reference, request_id, created_at
from entries;

-- Invoices that are closed, and cannot change any more.
create view read.invoices as
select
  account_id, number, to_char(month at time zone 'UTC', 'YYYY-MM') as month, billing_mode, opening_nanousd, closing_nanousd,
  greatest(0, -closing_nanousd) as due_nanousd, closed_at
from invoices where closed_at is not null;

-- Credit notes, in short: with parties and tax each is read by itself.
create view read.credit_notes as
select account_id, number, invoice_number, entry_id, request_id, model, amount_nanousd, created_at from credit_notes;

-- What each key used each day, as it was added up when it was settled.
create view read.usage_by_day as
select
  account_id, day, key_id, model, request_count, prompt_tokens, cached_tokens, completion_tokens, cost_nanousd, refunded_nanousd
from usage_daily;

-- The same by the metadata of requests: each in a row of every name that it has, where there was room for its value.
create view read.usage_by_metadata as
select
  account_id, name, day, value, key_id, model, request_count, prompt_tokens, cached_tokens, completion_tokens, cost_nanousd,
  refunded_nanousd
from usage_metadata_daily;

-- Days on which there was no room for a value of a name, or for a name ('').
create view read.full_metadata as
select account_id, day, name from usage_metadata_names where is_full;

-- The tags of each key, and '' for a key without any: its usage counts under each of them.
create view read.key_tags as
select account_id, id as key_id, unnest(case when tags = '{}' then array[''] else tags end) as tag from keys;

-- What should not have happened. Who is concerned is told by the report itself.
create view read.anomalies as
select
  id, created_at, kind, request_id, coalesce(detail ->> 'account_id', detail -> 'record' ->> 'account_id') as account_id,
  detail ->> 'node_id' as node_id, detail ->> 'sqlstate' as sqlstate, detail
from anomalies;

-- Nodes that an operator registered, with what they last said. Their keys are the public halves.
create view read.nodes as
select
  id, url, model, key as public_key, old_key_until, drained_at, created_at, state, running, waiting, last_seen_at,
  coalesce((select sum(count) from node_refusals where node_id = registered_nodes.id), 0)::bigint as refusals
from registered_nodes;

-- What was refused of nodes; those that are not registered are together under the id ''.
create view read.node_refusals as
select node_id, reason, count, first_at, last_at, detail from node_refusals;

-- Who runs the service, their keys, and what they changed.
create view read.operators as select id, name, role, created_at, ended_at from operators;

create view read.operator_keys as
select id, operator_id, prefix, last_four, created_at, expires_at, revoked_at, last_used_at, rotated_from from operator_keys;

create view read.audit as
select id, created_at, operator_id, operator_name, operator_key_id, address, request_id, action, account_id, subject, before, after
from audit;

-- Endpoints of webhooks, without their secrets.
create view read.webhook_endpoints as
select
  id, account_id, name, url, event_types, signature_type, hint, public_key, both_until,
  created_at, updated_at, disabled_at, disabled_reason, failing_since
from webhook_endpoints where kind = 'webhook';

-- What was sent to them, and what is still to be sent.
create view read.webhook_deliveries as
select
  d.id, d.account_id, d.endpoint_id, d.state, case when d.state = 'pending' then d.due_at end as due_at, d.attempts, d.answer, d.created_at, o.body as event
from webhook_deliveries d join outbox o on o.id = d.event_id;

-- What an account is told.
create view read.events as select id, account_id, type, body as event from outbox;

-- Files that are whole.
create view read.files as
select id, account_id, purpose, filename, bytes, created_at, expires_at
from files where state = 'ready' and expires_at > clock_timestamp();

-- A reader logs in as a member of ziya_reader.
--   create role my_reader login password '…' in role ziya_reader;
select make_role('ziya_reader', 'read as the owner of the tables');

do $$
begin
  if exists (select from pg_roles where rolname = 'ziya_reader') then
    grant usage on schema read to ziya_reader;
    grant select on all tables in schema read to ziya_reader;
  end if;
end $$;
