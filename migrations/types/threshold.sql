-- What is left of an account fell to it: to a part of what there was, or (percent null) to an amount.

create type ledger.threshold as (percent int, nanousd bigint);
