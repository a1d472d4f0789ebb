-- What a change under an idempotency key answered, written with the change.
-- request is the SHA-256 of method, path, query and body.
CREATE TABLE answers (
  token_id        TEXT NOT NULL,
  idempotency_key TEXT NOT NULL,
  request         TEXT NOT NULL,
  status          BIGINT NOT NULL,
  body            TEXT NOT NULL,
  at              BIGINT NOT NULL,
  PRIMARY KEY (token_id, idempotency_key)
);
CREATE INDEX answers_by_token ON answers (token_id, at);
CREATE INDEX answers_by_age ON answers (at);
