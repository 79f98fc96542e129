-- Of a job that was cancelled while it ran, what was stored is what it costs, also where its node finished it and was never heard again.

-- Whose text is in what is stored of its stream. A gateway of the release before does not say.
alter table jobs add column seen_tokens bigint not null default 0;
-- A cancelled job has a lease until its node has told of its end.
create index jobs_untold on jobs (leased_until) where state = 'cancelled' and leased_until is not null;
