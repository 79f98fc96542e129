-- What tokens per minute were charged with at admission has a name of its own: a sequence, a batch and a request have bounds of tokens too.

alter table reservations rename column tokens_max to charged_tokens_max;
