-- The audit as a transparency log: its rows in the order of their ids are the
-- leaves of a Merkle tree (RFC 6962 hashing). node is the index of
-- golang.org/x/mod/sumdb/tlog, hash is base64.
CREATE TABLE ledger_nodes (
  node BIGINT PRIMARY KEY,
  hash TEXT NOT NULL
);

-- One signed tree head for every size; checkpoint is '' where no key signed.
CREATE TABLE ledger_heads (
  size       BIGINT PRIMARY KEY,
  audit_id   BIGINT NOT NULL, -- the row that is the newest leaf
  root       TEXT NOT NULL,
  checkpoint TEXT NOT NULL
);
