-- How much an account has of kept results. A row is made with the first one; whoever takes rows of idempotent_requests away, or writes
-- their bodies, locks it before them.
create table kept_results (
  account_id bigint primary key, -- 0: the operator
  body_bytes bigint not null check (body_bytes >= 0)
);

insert into kept_results (account_id, body_bytes)
select account_id, sum(octet_length(body)) from idempotent_requests where body is not null group by account_id;
