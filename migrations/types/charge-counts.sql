-- Tokens of a request: as a node counted them, or as they are charged.

create type ledger.charge_counts as (prompt_tokens bigint, cached_tokens bigint, completion_tokens bigint);
