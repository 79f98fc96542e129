-- Which languages a node verifies answers in, and what was tried for an answer that was verified: {language, passed, candidates, attempts}.

alter table registered_nodes add column verifies text[] not null default '{}';
alter table usage add column verification jsonb; -- null where nothing was to be verified
