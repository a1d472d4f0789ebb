package keys

// maxBackup bounds what is read as an encrypted file: a backup of hundreds of
// keys is far smaller.
const maxBackup = 4 << 20
