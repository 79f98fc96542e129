-- Nodes as gateways of the release before know them, who report under one secret and are registered nowhere. A gateway of this release
-- neither hears nor asks them.

create function ledger.heartbeat(node jsonb) returns void language sql as $$
  insert into nodes
  select
    node ->> 'node_id', node ->> 'url', node ->> 'model', node ->> 'state', (node ->> 'context_tokens')::int,
    (node ->> 'running')::int, (node ->> 'waiting')::int, (node ->> 'blocks_total')::int, (node ->> 'blocks_free')::int,
    clock_timestamp()
  on conflict (id) do update set
    url = excluded.url, model = excluded.model, state = excluded.state, context_tokens = excluded.context_tokens,
    running = excluded.running, waiting = excluded.waiting, blocks_total = excluded.blocks_total,
    blocks_free = excluded.blocks_free, last_seen_at = excluded.last_seen_at
$$;

create function ledger.live_unregistered_nodes(wanted text) returns jsonb language plpgsql as $$
begin
  return (
    select coalesce(jsonb_agg(jsonb_build_object('id', id, 'url', url, 'running', running, 'waiting', waiting)), '[]')
    from nodes
    where model = wanted and state = 'ready' and is_live(last_seen_at));
end $$;

-- The requests whose key was revoked while they ran.
create function ledger.requests_to_stop() returns jsonb language sql as $$
  select coalesce(jsonb_agg(request_id), '[]') from (
    select request_id from reservations where state = 'pending' and stopped_at is not null order by stopped_at limit 1000) as stopped
$$;
