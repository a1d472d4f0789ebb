package capgo

import "encoding/json"

// Receipt is the answer of GET /capstan/v1/ledger/receipt?app_id=&id=: the proof
// that an entry of the history is in the server's ledger.
type Receipt struct {
	// Entry is the id of the history's entry that was asked for.
	Entry int64 `json:"entry,omitempty"`
	Index int64 `json:"index"` // place in the ledger, from 0
	// Record is the entry as the ledger's tree covers it, byte for byte: a JSON
	// list of time (ms since 1970), app, channel, action, actor, from, to, note.
	Record json.RawMessage `json:"record"`
	Proof  []string        `json:"proof"` // hashes that lead from the record to the root, base64
	// Checkpoint is the root, signed by the ledger's key, in the form of C2SP
	// tlog-checkpoint: origin, size, root, an empty line, signatures.
	Checkpoint string `json:"checkpoint"`
}
