-- What an account may owe is added up where it cannot overflow, and an overdraft has a greatest one.

update accounts set overdraft_nanousd = 4611686018427387904 where overdraft_nanousd > 4611686018427387904;
alter table accounts
  drop constraint never_overspent,
  add constraint never_overspent check (
    debited_nanousd::numeric - late_nanousd + pending_nanousd <= credited_nanousd::numeric + overdraft_nanousd),
  add constraint overdraft_is_bounded check (overdraft_nanousd <= 4611686018427387904); -- 2^62
